// Tabs, filters, sorted tables and choices. Without this script everything is on one long page.
"use strict";

const all = (selector, within = document) => [...within.querySelectorAll(selector)];

// Tabs: sections of one name become one panel (WAI-ARIA authoring practices, tabs).
function makeTabs(nav) {
  const links = all("a[href^='#']", nav);
  const panelOf = (link) => document.querySelector(link.getAttribute("href"));
  all("li", nav).forEach((item) => item.setAttribute("role", "presentation"));
  nav.querySelector("ul").setAttribute("role", "tablist");
  const show = (chosen, focus) => {
    for (const link of links) {
      const isChosen = link === chosen;
      link.setAttribute("aria-selected", String(isChosen));
      link.tabIndex = isChosen ? 0 : -1;
      panelOf(link).hidden = !isChosen;
    }
    if (focus) chosen.focus();
  };
  const byAddress = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    return links.find((link) => target && panelOf(link).contains(target));
  };
  links.forEach((link, place) => {
    link.id = `tab-${panelOf(link).id}`;
    link.setAttribute("role", "tab");
    link.setAttribute("aria-controls", panelOf(link).id);
    panelOf(link).setAttribute("role", "tabpanel");
    panelOf(link).setAttribute("aria-labelledby", link.id);
    link.addEventListener("click", (event) => {
      event.preventDefault();
      history.replaceState(null, "", link.getAttribute("href"));
      show(link, true);
    });
    link.addEventListener("keydown", (event) => {
      const last = links.length - 1;
      const next = { ArrowRight: place < last ? place + 1 : 0, ArrowLeft: place ? place - 1 : last, Home: 0, End: last };
      if (event.key === " ") link.click();
      else if (event.key in next) show(links[next[event.key]], true);
      else return;
      event.preventDefault();
    });
  });
  addEventListener("hashchange", () => byAddress() && show(byAddress(), false));
  show(byAddress() || links[0], false);
}

// A text field narrows what it names by `data-filter`, a selector, to items with all its words.
function makeFilter(field) {
  const items = all(field.dataset.filter);
  const told = document.getElementById(field.getAttribute("aria-describedby"));
  const texts = items.map((item) => (item.dataset.text || item.textContent).toLowerCase());
  const narrow = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    items.forEach((item, place) => {
      item.hidden = !words.every((word) => texts[place].includes(word));
      shown += !item.hidden;
    });
    told.textContent = `${shown} of ${items.length}`;
  };
  field.closest(".filter").hidden = false;
  field.addEventListener("input", narrow);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    field.value = "";
    narrow();
  });
  narrow();
}

// Titles of a table become buttons that sort its rows, by numbers where there are numbers.
function makeSorted(table) {
  const body = table.tBodies[0];
  const titles = all("thead th", table);
  titles.forEach((title, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...title.childNodes);
    title.append(button);
    button.addEventListener("click", () => {
      const numeric = "sort" in (body.rows[0]?.cells[column].dataset ?? {});
      const before = title.getAttribute("aria-sort");
      const falling = before ? before === "ascending" : numeric;
      titles.forEach((other) => other.removeAttribute("aria-sort"));
      title.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const key = (row) => (numeric ? Number(row.cells[column].dataset.sort) : row.cells[column].textContent.trim());
      const order = (a, b) => (numeric ? key(a) - key(b) : key(a).localeCompare(key(b)));
      body.append(...[...body.rows].sort((a, b) => (falling ? order(b, a) : order(a, b))));
    });
  });
}

// A choice shows one of the drawings beside it.
function makeChoice(choice) {
  const drawings = all(choice.dataset.choose);
  const show = () => drawings.forEach((drawing, place) => (drawing.hidden = place !== choice.selectedIndex));
  choice.closest(".filter").hidden = false;
  choice.addEventListener("change", show);
  show();
}

all("nav[data-tabs]").forEach(makeTabs);
all("input[data-filter]").forEach(makeFilter);
all("table[data-sortable]").forEach(makeSorted);
all("select[data-choose]").forEach(makeChoice);
addEventListener("keydown", (event) => {
  if (event.key === "Escape") all("figure input:checked").forEach((box) => (box.checked = false));
});
