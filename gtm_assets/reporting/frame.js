// Draws the charts of a report page and follows the reader's choices. It adds up and writes as rows.py and html.py do.
"use strict";
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const additive = new Set(page.additive);
  const views = {};

  // -- how figures are written ---------------------------------------------------------------------------------

  // JavaScript's toFixed rounds the exact value, halves away from zero, up to 1e21.
  const fixed = (value, digits) => {
    const [whole, rest] = Math.abs(value).toFixed(digits).split(".");
    const text = whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest ? "." + rest : "");
    return (value < 0 && /[1-9]/.test(text) ? "−" : "") + text;
  };
  const symbol = () => page.symbols[page.currency] ?? (page.currency ? page.currency + "\u00a0" : "");
  const written = (value, kind) => {
    if (value === null) return page.nothing;
    if (typeof value === "string") {
      if (kind === "month") return page.months[value.slice(5, 7) - 1] + " " + value.slice(0, 4);
      return kind === "instant" ? value + " UTC" : value;
    }
    const sign = value < 0 ? "−" : "";
    const size = Math.abs(value);
    if (kind === "amount") {
      return sign + symbol() + fixed(Math.floor(size / 100), 0) + "." + String(size % 100).padStart(2, "0");
    }
    if (kind === "share") return fixed(value * 100, 1) + " %";
    return kind === "number" ? fixed(value, 1) : sign + fixed(size, 0);
  };
  const short = (value, kind) => {
    if (value === null || typeof value === "string" || !additive.has(kind)) return written(value, kind);
    const size = kind === "amount" ? Math.abs(value) / 100 : Math.abs(value);
    const before = (value < 0 ? "−" : "") + (kind === "amount" ? symbol() : "");
    for (const [from, unit] of [[1e9, "bn"], [1e6, "m"], [1e4, "k"]]) {
      if (size >= from) return before + (unit === "k" ? fixed(size / 1e3, 1) : fixed(size / from, 2)) + unit;
    }
    return before + fixed(size, 0);
  };
  const change = (now, before, kind) => {
    if (now === null || before === null) return null;
    if (kind === "share") return now - before;
    return before > 0 ? (now - before) / before : null;
  };
  const writtenChange = (value, kind) => {
    if (value === null) return page.nothing;
    const sign = value > 0 ? "+" : value < 0 ? "−" : "±";
    return sign + fixed(Math.abs(value) * 100, 1) + (kind === "share" ? " pp" : " %");
  };
  const tone = (moved, better) =>
    !moved || !better ? "even" : moved > 0 === (better === "up") ? "good" : "bad";

  // -- adding up -----------------------------------------------------------------------------------------------

  // What is chosen, by choice; undefined stands for all rows.
  const chosen = () => {
    const values = {};
    for (const select of document.querySelectorAll("select[data-choice]")) {
      const options = page.choices[select.dataset.choice].options;
      values[select.dataset.choice] = select.value === "" ? undefined : options[select.value];
    }
    return values;
  };
  const sum = (places, rows, name) => {
    const [place, kind] = places[name];
    const found = rows.map((row) => row[place]).filter((value) => value !== null);
    if (found.length <= 1) return found.length ? found[0] : null;
    return additive.has(kind) ? found.reduce((a, b) => a + b, 0) : null;
  };
  const measured = (places, rows, measure) => {
    const above = sum(places, rows, measure.of);
    if (!measure.over.length) return above;
    const below = measure.over.reduce((total, name) => total + (sum(places, rows, name) ?? 0), 0);
    return above === null || !below ? null : above / below;
  };
  const grouped = (figure, choices) => {
    const rows = page.rows[figure.rows];
    const places = Object.fromEntries(rows.columns.map(([name, kind], place) => [name, [place, kind]]));
    const tests = Object.entries(figure.where).map(([name, value]) => (row) => row[places[name][0]] === value);
    for (const key of figure.heeds) {
      const { column, from_on: fromOn } = page.choices[key];
      const [place] = places[column];
      const value = choices[key];
      if (value !== undefined) tests.push((row) => (fromOn ? row[place] >= value : row[place] === value));
    }
    const groups = new Map();
    const by = (figure.by ?? []).map(({ name }) => places[name][0]);
    for (const row of rows.values) {
      if (!tests.every((test) => test(row))) continue;
      const key = by.map((place) => row[place]);
      const text = JSON.stringify(key);
      if (!groups.has(text)) groups.set(text, [key, []]);
      groups.get(text)[1].push(row);
    }
    if (!by.length && !groups.size) groups.set("[]", [[], []]);
    const found = [...groups.values()].map(([key, members]) => [
      ...key,
      ...figure.measures.map((measure) => measured(places, members, measure)),
    ]);
    if (figure.largest_first) {
      const size = (row) => row[by.length] ?? -Infinity;
      found.sort((one, other) => (size(one) === size(other) ? 0 : size(other) > size(one) ? 1 : -1));
    }
    return found;
  };

  // -- showing -------------------------------------------------------------------------------------------------

  const showTile = (figure, found) => {
    const element = document.getElementById(figure.id);
    const [[now, ...before]] = found;
    const kind = figure.measures[0].kind;
    const value = element.querySelector("data");
    value.value = now ?? "";
    value.title = written(now, kind);
    value.textContent = short(now, kind);
    element.querySelectorAll(".change").forEach((line, number) => {
      const moved = change(now, before[number], kind);
      const text = line.querySelector("b");
      text.textContent = writtenChange(moved, kind);
      text.title = figure.measures[number + 1].label + ": " + written(before[number], kind);
      line.className = "change " + tone(moved, figure.better);
    });
  };
  const cell = (name, text, number) => {
    const element = document.createElement(name);
    if (name === "th") element.scope = "row";
    if (number) element.className = "n";
    element.textContent = text;
    return element;
  };
  const alternative = (figure, found) => {
    const keys = figure.by.length;
    const first = figure.measures[0];
    const told = found.filter((row) => row[keys] !== null);
    if (!told.length) return figure.title + ". No figures.";
    const named = (row) => figure.by.map(({ kind }, place) => written(row[place], kind)).join(", ");
    const last = told[told.length - 1];
    const highest = told.reduce((one, other) => (other[keys] > one[keys] ? other : one));
    const reach = told.length > 1 ? "from " + named(told[0]) + " to " + named(last) : named(last);
    return (
      figure.title + ". " + first.label + ", " + told.length + (told.length > 1 ? " figures, " : " figure, ") +
      reach + ": last " + written(last[keys], first.kind) + ", highest " + written(highest[keys], first.kind) +
      " (" + named(highest) + ")."
    );
  };
  const missing = (figure, found) => {
    if (!found.length) return figure.if_missing || page.no_figures;
    const without = figure.measures.length ? found.filter((row) => row[figure.by.length] === null).length : 0;
    if (without) {
      const howMany = without === found.length ? page.no_figures : without + " of " + found.length + " have no figure.";
      return (howMany + " " + figure.if_missing).trim();
    }
    const { most } = figure;
    return most && found.length > most ? "The first " + most + " of " + found.length + " are drawn." : "";
  };
  const showTable = (figure, found) => {
    const element = document.getElementById(figure.id);
    const kinds = [...figure.by, ...figure.measures].map(({ kind }) => kind);
    const keys = figure.by.length;
    const body = document.createElement("tbody");
    for (const row of found) {
      const line = document.createElement("tr");
      row.forEach((value, place) => {
        const name = place === 0 && keys > 0 ? "th" : "td";
        line.append(cell(name, written(value, kinds[place]), place >= keys));
      });
      body.append(line);
    }
    element.querySelector("tbody").replaceWith(body);
    const line = element.querySelector(".missing");
    line.textContent = missing(figure, found);
    line.hidden = !line.textContent;
    element.querySelector(".scroll").hidden = !found.length;
  };

  // The rows as a chart takes them: amounts in units, and beside each field its figure as it is written.
  const drawable = (figure, found) => {
    const fields = [...figure.by.map(({ name, kind }) => [name, kind]), ...figure.measures.map((m) => [m.label, m.kind])];
    const keys = figure.by.length;
    return found
      .filter((row) => row.slice(keys).some((value) => value !== null))
      .slice(0, figure.most ?? undefined)
      .map((row) =>
        Object.fromEntries(
          fields.flatMap(([name, kind], place) => [
            [name, kind === "amount" && row[place] !== null ? row[place] / 100 : row[place] ?? (place < keys ? page.nothing : null)],
            [name + ", written", written(row[place], kind)],
          ]),
        ),
      );
  };
  // Lying bars have each their height, and the axis below them has some.
  const height = ({ specification, by }, values) =>
    specification.height.step
      ? new Set(values.map((row) => row[by[0].name])).size * specification.height.step + 34
      : specification.height;
  const draw = async (figure, found) => {
    const place = document.getElementById(figure.id).querySelector(".chart");
    const values = drawable(figure, found);
    place.setAttribute("aria-label", alternative(figure, found));
    place.hidden = !values.length;
    if (place.hidden || !window.vegaEmbed) return;
    if (!views[figure.id]) {
      const { specification } = figure;
      const spec = { ...specification, height: height(figure, values), datasets: { rows: values }, config: page.config };
      // Its sentence and its table say what it shows; a reader of the screen is spared the marks one by one.
      const canvas = document.createElement("div");
      canvas.setAttribute("aria-hidden", "true");
      place.replaceChildren(canvas);
      const drawn = await window.vegaEmbed(canvas, spec, { actions: false, renderer: "svg", ast: true });
      views[figure.id] = drawn.view;
      return;
    }
    await views[figure.id].height(height(figure, values)).data("rows", values).resize().runAsync();
  };
  const show = (figure, choices) => {
    const found = grouped(figure, choices);
    if (figure.kind === "tile") return showTile(figure, found);
    showTable(figure, found);
    return figure.kind === "chart" ? draw(figure, found) : undefined;
  };
  const sayDeaf = (choices) => {
    for (const line of document.querySelectorAll("[data-deaf]")) {
      const set = line.dataset.deaf.split(" ").filter((key) => choices[key] !== undefined);
      line.hidden = !set.length;
      line.textContent = set.length
        ? "Shows all, whatever the choice of " + set.map((key) => page.choices[key].label.toLowerCase()).join(" and ") + "."
        : "";
    }
  };
  const follow = async (key) => {
    const choices = chosen();
    sayDeaf(choices);
    await Promise.all(
      page.figures.filter((figure) => !key || figure.heeds.includes(key)).map((figure) => show(figure, choices)),
    );
    if (!key) return;
    const select = document.querySelector('select[data-choice="' + key + '"]');
    document.getElementById("said").textContent =
      page.choices[key].label + ": " + select.selectedOptions[0].textContent + ". The figures follow.";
  };

  document.addEventListener("change", (event) => {
    const key = event.target.dataset?.choice;
    if (key) follow(key);
  });
  // A form is reset after its event.
  document.addEventListener("reset", () => setTimeout(() => follow("")));
  document.addEventListener("submit", (event) => event.preventDefault());
  const first = chosen();
  sayDeaf(first);
  const charts = page.figures.filter((figure) => figure.kind === "chart");
  Promise.all(charts.map((figure) => draw(figure, grouped(figure, first)))).then(() => {
    document.documentElement.dataset.drawn = charts.length;
  });
})();
