"use strict";
// The interactive page. data.js holds RUNS; names in it are untrusted, so they enter the page as text, and plotly escaped.

const byId = (id) => document.getElementById(id);
const style = getComputedStyle(document.documentElement);
const color = (name) => style.getPropertyValue(name).trim();
const COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8073c5", "#882255", "#777722", "#44AA99"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const MOST_CHOSEN = 12; // layers that are shown at first
const AGGREGATES = 2; // series before the first layer
const SEVERITIES = { serious: "--serious", warning: "--warning", notice: "--notice", info: "--info" };

function bytesOf(text) {
  return Uint8Array.from(atob(text), (one) => one.charCodeAt(0)).buffer;
}

// Unpacked when first needed: a run may have millions of values.
const unpacked = new Map();
function numbers(text) {
  if (!unpacked.has(text)) unpacked.set(text, new Float32Array(bytesOf(text)));
  return unpacked.get(text);
}

function row(values, index, length) {
  return Array.from(values.subarray(index * length, (index + 1) * length), (one) => (Number.isNaN(one) ? null : one));
}

// Plotly reads a few tags in its texts.
function escaped(text) {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");
}

// The end of a name tells layers apart.
function shortened(text, length) {
  return text.length > length ? `…${text.slice(1 - length)}` : text;
}

function option(select, value, text, selected) {
  const one = document.createElement("option");
  one.value = value;
  one.textContent = text;
  one.selected = selected;
  select.append(one);
}

const chosen = (select) => Array.from(select.selectedOptions, (one) => Number(one.value));
const runsShown = () => chosen(byId("run")).map((at) => RUNS[at]);
const first = () => runsShown()[0] || RUNS[0];
const metricIn = (run) => run.metrics.find((one) => one.name === byId("metric").value);
let selected = new Set(); // names of series: the same in all runs

function layout(more) {
  const axis = { gridcolor: color("--line"), zeroline: false, automargin: true };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("--ink"), family: "system-ui, sans-serif", size: 13 },
    margin: { l: 70, r: 20, t: 20, b: 45 },
    hovermode: "closest",
    modebar: { bgcolor: "rgba(0,0,0,0)", color: color("--soft"), activecolor: color("--accent") },
    legend: { orientation: "h", y: -0.28 },
  };
  const merged = Object.assign(base, more);
  for (const name of ["xaxis", "yaxis", "yaxis2"]) if (merged[name]) merged[name] = Object.assign({}, axis, merged[name]);
  return merged;
}

const CONFIG = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["sendDataToCloud"] };

function show(id, traces, more) {
  return Plotly.react(byId(id), traces, layout(more), CONFIG);
}

// ---------------------------------------------------------------------------------------------------- curves

function values(run, metric, index) {
  const found = row(numbers(metric.values), index, run.axis.length);
  if (!byId("relative").checked) return found;
  const start = found.find((one) => one !== null && one !== 0);
  return found.map((one) => (one === null || start === undefined ? null : one / start));
}

function curveTraces() {
  const traces = [];
  const shown = runsShown();
  shown.forEach((run, turn) => {
    const metric = metricIn(run);
    if (!metric) return;
    let place = 0;
    run.series.forEach((one, index) => {
      if (!selected.has(one.name)) return;
      const label = shown.length > 1 ? `${run.name}: ${one.name}` : one.name;
      traces.push({
        x: run.axis,
        y: values(run, metric, index),
        name: escaped(label),
        mode: run.axis.length > 1 ? "lines" : "markers",
        line: { color: COLORS[place % COLORS.length], dash: DASHES[turn % DASHES.length], width: 1.8 },
        hovertemplate: `%{y:.5g}<br>${escaped(run.axisLabel)} %{x}<extra>${escaped(label)}</extra>`,
      });
      place += 1;
    });
  });
  return traces;
}

function scoreTraces() {
  if (!byId("scores").checked) return [];
  const shown = runsShown();
  return shown.flatMap((run, turn) =>
    Object.entries(run.scores).filter(([name]) => /acc|loss|error|perplexity|score/i.test(name)).slice(0, 4).map(([name, packed]) => ({
      x: run.axis,
      y: row(numbers(packed), 0, run.axis.length),
      name: escaped(shown.length > 1 ? `${run.name}: ${name}` : name),
      yaxis: "y2",
      mode: "lines",
      line: { color: color("--soft"), dash: DASHES[(turn + (/loss/i.test(name) ? 2 : 1)) % DASHES.length], width: 1.2 },
      hovertemplate: `%{y:.5g}<extra>${escaped(name)}</extra>`,
    })),
  );
}

function markShapes() {
  if (!byId("marks").checked) return { shapes: [], annotations: [] };
  const run = first();
  const shapes = [];
  const annotations = [];
  for (const one of run.findings) {
    const isShown = one.severity !== "info" && (one.series.length === 0 || one.series.some((at) => selected.has(run.series[at].name)));
    if (one.from === null || !isShown) continue;
    const [from, to] = [run.axis[one.from], run.axis[one.to]];
    const line = { color: color(SEVERITIES[one.severity]), width: 1, dash: "dash" };
    const fill = from === to ? undefined : color(SEVERITIES[one.severity]);
    shapes.push({ type: "rect", xref: "x", yref: "paper", x0: from, x1: to, y0: 0, y1: 1, line, fillcolor: fill, opacity: 0.14, layer: "below" });
    annotations.push({ x: from, xref: "x", y: 1.04, yref: "paper", text: String(one.number), showarrow: false, font: { color: color(SEVERITIES[one.severity]) } });
  }
  return { shapes, annotations };
}

function drawCurves() {
  const run = first();
  const metric = metricIn(run);
  const unit = byId("relative").checked ? "ratio to the first value" : metric && metric.unit !== "1" ? metric.unit : "";
  const scores = scoreTraces();
  const more = {
    height: 460,
    xaxis: { title: { text: escaped(run.axisLabel) } },
    yaxis: { title: { text: metric ? [escaped(metric.name.replace(/_/g, " ")), escaped(unit)].filter(Boolean).join("<br>") : "" }, type: byId("log").checked ? "log" : "linear", exponentformat: "power" },
    ...markShapes(),
  };
  if (scores.length) more.yaxis2 = { title: { text: "scores" }, overlaying: "y", side: "right", showgrid: false, tickmode: "auto" };
  if (scores.length) more.margin = { l: 80, r: 70, t: 30, b: 45 };
  show("curves", [...curveTraces(), ...scores], more);
  byId("curves").setAttribute("aria-label", metric ? `${metric.name} of ${selected.size} layers` : "no metric");
  byId("definition").textContent = metric ? `${metric.definition}${metric.unit === "1" ? "" : `; unit: ${metric.unit}`}` : "";
  drawLinks(run);
}

function drawLinks(run) {
  const pages = run.series.filter((one) => one.page && selected.has(one.name)).slice(0, 30);
  const links = pages.flatMap((one) => {
    const link = document.createElement("a");
    link.href = one.page;
    link.textContent = one.name;
    return [" ", link];
  });
  byId("links").replaceChildren(pages.length ? "Pages of these layers:" : "No layer is chosen.", ...links);
}

// ------------------------------------------------------------------------------------------------------- map

function drawMap() {
  const run = first();
  const metric = metricIn(run);
  const names = run.series.slice(AGGREGATES);
  const all = names.map((_, index) => (metric ? values(run, metric, index + AGGREGATES) : []));
  const positive = all.flat().filter((one) => one !== null && one > 0);
  const isLog = byId("log").checked && positive.length > 0;
  const z = isLog ? all.map((line) => line.map((one) => (one !== null && one > 0 ? Math.log10(one) : null))) : all;
  const trace = {
    type: "heatmap",
    x: run.axis,
    y: names.map((_, index) => index),
    z,
    customdata: all,
    text: names.map((one) => run.axis.map(() => escaped(one.name))),
    colorscale: "Viridis",
    colorbar: { title: { text: isLog ? "log₁₀" : "" }, thickness: 12 },
    hovertemplate: `%{text}<br>%{customdata:.5g}<br>${escaped(run.axisLabel)} %{x}<extra></extra>`,
  };
  const every = Math.max(1, Math.ceil(names.length / 45));
  const ticks = names.map((_, index) => index).filter((index) => index % every === 0);
  const more = {
    height: Math.min(900, Math.max(220, 16 * names.length + 90)),
    xaxis: { title: { text: escaped(run.axisLabel) } },
    yaxis: { autorange: "reversed", tickvals: ticks, ticktext: ticks.map((at) => escaped(shortened(names[at].name, 38))), tickfont: { size: 11 } },
  };
  const plot = byId("map");
  show("map", [trace], more).then(() => {
    plot.removeAllListeners("plotly_click");
    plot.on("plotly_click", (event) => toggle(names[event.points[0].y].name));
  });
  plot.setAttribute("aria-label", `${metric ? metric.name : "no metric"} of all ${names.length} layers through time`);
}

function toggle(name) {
  if (!selected.delete(name)) selected.add(name);
  fillLayers();
  drawCurves();
}

// -------------------------------------------------------------------------------------------------- spectrum

function drawSpectrum() {
  const run = first();
  const spectrum = run.spectra[Number(byId("matrix").value)];
  const at = Number(byId("time").value);
  byId("when").textContent = `${run.axisLabel} ${run.places[at]}`;
  if (!spectrum) return show("spectrum", [], { height: 120 });
  const bins = numbers(spectrum.bins);
  const counts = new Uint16Array(bytesOf(spectrum.counts));
  const width = bins.length - 1;
  const heights = Array.from(counts.subarray(at * width, (at + 1) * width));
  let tallest = 1;
  for (const one of counts) tallest = Math.max(tallest, one);
  const centers = heights.map((_, index) => Math.sqrt(bins[index] * bins[index + 1]));
  const bar = {
    type: "bar",
    x: centers,
    y: heights,
    width: heights.map((_, index) => bins[index + 1] - bins[index]),
    marker: { color: COLORS[0] },
    hovertemplate: "%{y} singular values near %{x:.4g}<extra></extra>",
  };
  const edge = numbers(spectrum.edge)[at];
  const hasEdge = !Number.isNaN(edge);
  const line = { type: "line", x0: edge, x1: edge, yref: "paper", y0: 0, y1: 1, line: { color: COLORS[1], dash: "dash", width: 1.5 } };
  const note = { x: Math.log10(edge), y: 1.06, yref: "paper", text: "edge of the noise", showarrow: false, font: { color: COLORS[1] } };
  byId("spectrum").setAttribute("aria-label", `Histogram of the singular values at ${byId("when").textContent}`);
  return show("spectrum", [bar], {
    height: 340,
    bargap: 0,
    xaxis: { title: { text: "singular value (log axis)" }, type: "log", range: [Math.log10(bins[0]), Math.log10(bins[width])] },
    yaxis: { title: { text: "number" }, range: [0, tallest] },
    shapes: hasEdge ? [line] : [],
    annotations: hasEdge ? [note] : [],
  });
}

// -------------------------------------------------------------------------------------------------- controls

function matches(one, words) {
  const text = `${one.name} ${one.role} block ${one.depth}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function fillLayers() {
  const words = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
  const select = byId("layers");
  select.replaceChildren();
  first().series.forEach((one, index) => {
    if (matches(one, words)) option(select, index, one.name, selected.has(one.name));
  });
}

function fillMetrics() {
  const before = byId("metric").value;
  const select = byId("metric");
  select.replaceChildren();
  const families = new Map();
  for (const one of first().metrics) {
    if (!families.has(one.family)) {
      const group = document.createElement("optgroup");
      group.label = one.family.replace(/_/g, " ");
      families.set(one.family, group);
      select.append(group);
    }
    option(families.get(one.family), one.name, one.name.replace(/_/g, " "), false);
  }
  const names = first().metrics.map((one) => one.name);
  const wished = [before, "relative_step_distance", "step_distance", "frobenius_norm", "condition_number"];
  select.value = wished.find((name) => names.includes(name)) || names[0];
}

function fillMatrices() {
  const run = first();
  const select = byId("matrix");
  const before = select.selectedOptions[0] ? select.selectedOptions[0].textContent : "";
  select.replaceChildren();
  run.spectra.forEach((one, index) => {
    const { name } = run.series[index + AGGREGATES];
    if (one) option(select, index, name, name === before);
  });
  byId("time").max = run.axis.length - 1;
  byId("time").value = run.axis.length - 1;
}

function fillFindings() {
  const run = first();
  const items = run.findings.map((one) => {
    const item = document.createElement("li");
    item.className = `finding ${one.severity}`;
    const badge = document.createElement("span");
    badge.className = "badge";
    badge.textContent = one.number;
    const word = document.createElement("span");
    word.className = `severity ${one.severity}`;
    word.textContent = one.severity;
    item.append(badge, " ", word, ` ${one.sentence} `);
    if (one.series.length) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Show its layers";
      button.addEventListener("click", () => choose(one.series.slice(0, MOST_CHOSEN).map((at) => run.series[at].name)));
      item.append(button);
    }
    return item;
  });
  byId("findings").replaceChildren(...(items.length ? items : ["None."]));
}

function choose(names) {
  selected = new Set(names);
  const run = first();
  const at = run.series.findIndex((one, index) => index >= AGGREGATES && selected.has(one.name) && run.spectra[index - AGGREGATES]);
  if (at >= 0) byId("matrix").value = at - AGGREGATES;
  fillLayers();
  drawCurves();
  drawSpectrum();
}

function startingLayers() {
  const run = first();
  const asked = new URLSearchParams(location.hash.slice(1)).get("layer");
  const found = run.series.filter((one) => one.name === asked);
  if (found.length) return [asked];
  const loud = run.findings.filter((one) => one.severity !== "info").flatMap((one) => one.series);
  const layers = run.series.map((_, index) => index).slice(AGGREGATES);
  const wanted = layers.length <= MOST_CHOSEN ? layers : [0, ...loud, ...layers.filter((at) => at % Math.ceil(layers.length / MOST_CHOSEN) === 0)];
  return [...new Set(wanted)].slice(0, MOST_CHOSEN).map((at) => run.series[at].name);
}

function wantsLog() {
  const metric = metricIn(first());
  const known = metric ? Array.from(numbers(metric.values)).filter((one) => !Number.isNaN(one)) : [];
  if (!known.length || known.some((one) => one < 0)) return false;
  const positive = known.filter((one) => one > 0);
  return positive.length > 0.5 * known.length && positive.reduce((a, b) => Math.max(a, b)) > 30 * positive.reduce((a, b) => Math.min(a, b));
}

function drawAll() {
  drawCurves();
  drawMap();
  drawSpectrum();
}

function changeRun() {
  fillMetrics();
  fillMatrices();
  fillFindings();
  byId("log").checked = wantsLog();
  choose(startingLayers());
  drawMap();
}

RUNS.forEach((run, index) => option(byId("run"), index, run.name, index === 0));
for (const id of ["run", "run-hint"]) byId(id).hidden = RUNS.length < 2;
document.querySelector('label[for="run"]').hidden = RUNS.length < 2;
byId("run").addEventListener("change", changeRun);
byId("metric").addEventListener("change", () => {
  byId("log").checked = wantsLog();
  drawCurves();
  drawMap();
});
byId("filter").addEventListener("input", fillLayers);
byId("layers").addEventListener("change", () => {
  const run = first();
  const listed = new Set(Array.from(byId("layers").options, (one) => run.series[Number(one.value)].name));
  const kept = [...selected].filter((name) => !listed.has(name));
  selected = new Set([...kept, ...chosen(byId("layers")).map((at) => run.series[at].name)]);
  drawCurves();
});
byId("all").addEventListener("click", () => choose(Array.from(byId("layers").options, (one) => one.textContent)));
byId("none").addEventListener("click", () => choose([]));
for (const id of ["log", "relative"]) byId(id).addEventListener("change", () => { drawCurves(); drawMap(); });
for (const id of ["scores", "marks"]) byId(id).addEventListener("change", drawCurves);
byId("matrix").addEventListener("change", drawSpectrum);
byId("time").addEventListener("input", drawSpectrum);
window.addEventListener("hashchange", () => choose(startingLayers()));
document.querySelector(".explore-controls").addEventListener("submit", (event) => event.preventDefault());
changeRun();
