// Tables sort by a click on a heading, and those that ask for it get a field to filter their rows. Nothing else.
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("table.sortable").forEach(makeSortable);
  document.querySelectorAll("table.filterable").forEach(makeFilterable);
});

function makeSortable(table) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    heading.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const falling = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((one) => one.setAttribute("aria-sort", one !== heading ? "none" : falling ? "descending" : "ascending"));
      const isNumber = heading.classList.contains("number");
      const keyed = [...body.rows].map((row) => [key(row.cells[column], isNumber), row]);
      keyed.sort(([one], [other]) => compare(one, other, isNumber, falling));
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

function key(cell, isNumber) {
  const text = cell.textContent.trim();
  return isNumber ? parseFloat(text.replace("−", "-").replace(/^[<>]\s*/, "")) : text;
}

// What has no value stays at the end in either order.
function compare(one, other, isNumber, falling) {
  const [absent, too] = isNumber ? [isNaN(one), isNaN(other)] : [one === "", other === ""];
  if (absent || too) return absent - too;
  const order = isNumber ? one - other : one.localeCompare(other, "en", { numeric: true });
  return falling ? -order : order;
}

function makeFilterable(table) {
  const rows = [...table.tBodies[0].rows];
  const label = document.createElement("label");
  const field = document.createElement("input");
  const count = document.createElement("span");
  label.className = "filter";
  field.type = "search";
  count.setAttribute("role", "status");
  label.append("Filter the rows ", field, " ", count);
  table.closest(".scroll").before(label);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
    const shown = rows.filter((row) => !row.hidden).length;
    count.textContent = words.length ? `${shown} of ${rows.length}` : "";
  });
}
