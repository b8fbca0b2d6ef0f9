// What is behind a square, and behind a case: causes, findings, ledger entries, documents side by side.
const AROUND = 3; // equal lines that stay around lines that differ
const FIRST = 8; // findings of a case that stand above its documents
const FOLD = 4; // fewer equal lines than this are not folded away
const SIGNS = { del: "− ", ins: "+ " };
let packs;

const more = (n, words, ...children) => h("details", {}, h("summary", {}, many(n, words)), children);

const causeRow = ([r, ...cases]) => {
  const list = () => h("ul", { class: "cases" }, cases.map((v) => h("li", {}, caseLink(v))));
  const links = cases.map((v, at) => [at ? ", " : "", caseLink(v)]);
  const shown = cases.length > 4 ? more(cases.length, "case", list()) : links;
  const entry = entryOf(r), summary = entry && h("small", { class: "id" }, plain(entry.summary));
  return row(tierChip(D.rows.tier[r]), wide(what(r)), shown, [standing(r), summary]);
};

const kindRow = (i) =>
  row(
    h("th", { scope: "row" }, D.kinds[D.cells.kind[i]]),
    ...D.counts.map((count) => (count[i] ? amount(count[i]) : "–")),
    tierChip(D.cells.worst[i]),
    D.cells.unexplained[i] || "–",
    command(`virt-compat explain ${cellName(i)}`),
  );

const squareView = (cells) => {
  const own = new Set(cells), total = sum(cells), it = parts(cells[0]), heads = ["tier", "what", "cases", "ledger"];
  const groups = D.groups.filter(([r]) => own.has(D.cellOf[D.verdictOf[r]]));
  const worse = groups.filter(([r]) => D.rows.tier[r] >= BREAK), lesser = groups.filter(([r]) => D.rows.tier[r] < BREAK);
  const verdicts = cells.flatMap((i) => range(D.verdictAt[i], D.verdictAt[i + 1]));
  const missing = verdicts.filter((v) => D.verdicts.outcome[v] >= MISSING);
  const told = total.asked ? ` ${total.counts[BAD]} of ${total.asked} asked are incompatible` : " nothing was asked";
  return [
    h("h2", { id: "detail-title", tabindex: -1 }, `${it.subject} · ${it.check}: ${pairName(it)}`),
    h("p", {}, purpose(it)),
    h("p", {}, outcomeChip(total.outcome), told, total.fresh ? `, ${total.fresh} of them new.` : "."),
    h("h3", {}, "Causes of what is incompatible"),
    worse.length ? table("Causes", heads, worse.map(causeRow)) : h("p", {}, "None."),
    lesser.length ? more(lesser.length, "lesser difference", table("Lesser differences", heads, lesser.map(causeRow))) : null,
    missing.length ? h("h3", {}, "What could not be asked") : null,
    missing.length ? table("What could not be asked", ["outcome", "case", "why"], missing.map(missingRow)) : null,
    h("h3", {}, "By kind"),
    table("By kind", ["kind", ...OUTCOMES.map(spaced), "worst", "new", "show it"], cells.map(kindRow)),
  ];
};

const missingRow = (v) => row(outcomeChip(D.verdicts.outcome[v]), caseLink(v), wide(plain(D.words[D.verdicts.reason[v]])));

const caseView = (i, v) => {
  const it = parts(i), rows = range(D.rowAt[v], D.rowAt[v + 1]).filter((r) => D.rows.change[r] >= 0);
  const entries = [...new Set(rows.map(entryOf).filter(Boolean))], reason = D.words[D.verdicts.reason[v]];
  const exhibit = h("div", { id: "exhibit" }, h("p", {}, "Opening the documents …")), R = D.rows;
  const value = (at) => code(D.words[at], 600), heads = ["tier", "path", "change", "was", "now", "ledger"];
  const lines = rows.map((r) =>
    row(tierChip(R.tier[r]), wide(code(D.words[R.path[r]])), D.changes[R.change[r]], value(R.old[r]), value(R.new[r]), standing(r)),
  );
  showExhibit(v, exhibit);
  return [
    h("h2", { id: "detail-title", tabindex: -1 }, `${plain(caseName(v))}: ${pairName(it)}`),
    h("p", {}, outcomeChip(D.verdicts.outcome[v]), ` ${plain(reason)}`),
    command(`virt-compat explain ${cellName(i)}/${caseName(v)}`),
    rows.length ? table("Findings", heads, lines.slice(0, FIRST)) : null,
    rows.length > FIRST ? more(lines.length - FIRST, "more finding", table("More findings", heads, lines.slice(FIRST))) : null,
    entries.length ? h("h3", {}, "What the change ledger says") : null,
    h("dl", {}, entries.map(entryView)),
    h("h3", {}, "Side by side"),
    exhibit,
  ];
};

const entryView = (entry) => [
  h("dt", {}, plain(entry.summary)),
  h("dd", {}, tierChip(TIERS.indexOf(entry.tier)), ` ${entry.product} since ${entry.since}, entry `, h("code", {}, entry.id)),
  h("dd", {}, plain(entry.why)),
  h("dd", {}, outside(entry.reference)),
];

const showExhibit = async (v, into) => {
  const at = D.place.get(v);
  if (!at) {
    const first = `It keeps the documents of the first ${D.shown} incompatible cases of a cause, where there are any.`;
    into.replaceChildren(h("p", { class: "note" }, `Not on this page. ${first} The command above shows them.`));
    return;
  }
  try {
    packs ??= JSON.parse($("packs").textContent);
    if (typeof packs[at[0]] === "string") packs[at[0]] = await unpack(packs[at[0]]);
    const { texts, exhibits } = packs[at[0]], own = exhibits[at[1]];
    const steps = h("ol", { class: "steps" }, own.steps.map((step) => h("li", {}, plain(step))));
    into.replaceChildren(steps, ...sides(own, lines(texts[own.old]), lines(texts[own.new])));
  } catch (error) {
    const words = `The documents do not open (${error.message}): this file is damaged. The command above shows them.`;
    into.replaceChildren(h("p", { class: "note", role: "alert" }, words));
  }
};

const lines = (document) => (document ? document.replace(/\n$/, "").split("\n") : []);

// One side of a line: its number and its text; empty where this side has no such line.
const side = (at, shown, tag = "") => {
  if (shown === undefined) return [h("td", { class: "n" }), h("td")];
  const words = h("code", {}, shown);
  return [h("td", { class: `n ${tag}` }, SIGNS[tag], String(at + 1)), h("td", { class: tag }, tag ? h(tag, {}, words) : words)];
};

const sides = (exhibit, left, right) => {
  const bodies = [h("tbody")], { blocks } = exhibit;
  const same = (x, y, n) =>
    range(0, n).map((k) => h("tr", { class: "same" }, side(x + k, plain(left[x + k])), side(y + k, plain(right[y + k] ?? ""))));
  const equal = (x, y, n, head, tail) => {
    const hidden = n - head - tail;
    if (hidden < FOLD) {
      bodies.at(-1).append(...same(x, y, n));
      return;
    }
    bodies.at(-1).append(...same(x, y, head));
    const rest = h("tbody", { hidden: true }, same(x + head, y + head, hidden));
    const button = h("button", { type: "button" }, `⋯ show ${many(hidden, "line")} that are the same`);
    const fold = h("tbody", { class: "fold" }, h("tr", {}, h("td", { colspan: 4 }, button)));
    button.addEventListener("click", () => {
      rest.hidden = false;
      fold.remove();
    });
    bodies.push(fold, rest, h("tbody", {}, same(x + head + hidden, y + head + hidden, tail)));
  };
  let x = 0, y = 0, differ = 0;
  blocks.forEach(([from, end, start, stop], at) => {
    equal(x, y, from - x, at ? AROUND : 0, AROUND);
    const was = left.slice(from, end), is = right.slice(start, stop);
    for (let k = 0; k < Math.max(was.length, is.length); k++) {
      const [one, other] = apart(was[k], is[k]), [gone, come] = left.length && right.length ? ["del", "ins"] : ["", ""];
      bodies.at(-1).append(h("tr", { class: "differs" }, side(from + k, one, gone), side(start + k, other, come)));
      differ++;
    }
    [x, y] = [end, stop];
  });
  equal(x, y, left.length - x, blocks.length ? AROUND : 0, 0);
  const heads = [exhibit.left, exhibit.right].map((title) => h("th", { scope: "col", colspan: 2 }, plain(title)));
  const columns = h("colgroup", {}, ["n", "", "n", ""].map((name) => h("col", { class: name })));
  const both = differ ? `${many(differ, "line differs", "lines differ")}.` : "Both are the same text: the finding is about what was done with it.";
  const said = left.length && right.length ? both : "There is nothing to compare it with.";
  return [h("p", {}, said), h("table", { class: "diff" }, columns, h("thead", {}, h("tr", {}, heads)), bodies)];
};

// Two lines with what differs in them marked: what is left when their common ends are taken off.
const apart = (one, other) => {
  if (one === undefined || other === undefined) return [one, other].map((line) => line && plain(line));
  let p = 0, q = 0;
  while (p < one.length && p < other.length && one[p] === other[p]) p++;
  while (q < one.length - p && q < other.length - p && one.at(-1 - q) === other.at(-1 - q)) q++;
  if (p + q < 4) return [plain(one), plain(other)];
  const marked = (line) => {
    const middle = line.slice(p, line.length - q);
    return [plain(line.slice(0, p)), middle && h("mark", {}, plain(middle)), plain(line.slice(line.length - q))];
  };
  return [marked(one), marked(other)];
};

// What an open item's name means: a square (check/subject/old/new), a cell, or a case of a cell.
const locate = (name) => {
  const steps = name.split("/");
  if (steps.length === 4) {
    const cells = [...squares.values()].find((own) => squareName(own[0]) === name);
    return cells && { view: () => squareView(cells), name };
  }
  const cell = steps.slice(0, 5).join("/"), wanted = steps.slice(5).join("/");
  const i = range(0, D.size).find((at) => cellName(at) === cell);
  if (i === undefined) return undefined;
  const v = range(D.verdictAt[i], D.verdictAt[i + 1]).find((at) => caseName(at).toWellFormed() === wanted);
  if (v === undefined) return wanted ? undefined : { view: () => squareView([i]), name: cell };
  return { view: () => caseView(i, v), above: squareName(i), name };
};

const showDetail = () => {
  const detail = $("detail");
  if (!S.open) {
    if (detail.open) detail.close();
    return;
  }
  const it = locate(S.open);
  const lost = () => [
    h("h2", { id: "detail-title", tabindex: -1 }, "Not on this page"),
    h("p", {}, `“${plain(S.open)}” is no square and no case here. Cases that are compatible and show no difference are only counted.`),
  ];
  const crumbs = it?.above ? [a({ open: it.above }, {}, `← ${it.above.split("/").join(" · ")}`)] : [];
  $("crumbs").replaceChildren(...crumbs);
  $("detail-body").replaceChildren(...(it?.view ?? lost)().filter(Boolean));
  if (!detail.open) detail.showModal();
  detail.scrollTop = 0;
  $("detail-title").focus();
};
