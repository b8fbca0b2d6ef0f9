// The matrix: a grid a check, a square a pair of releases.
const MANY = 2500; // squares that are made at once; of more, a grid is made when it comes into view
const COMPACT = 6; // releases a side, from which on squares are small
let cards = [], watcher;

const label = ({ outcome, counts, asked }) => {
  if (outcome === GOOD) return `${counts[GOOD]} ok`;
  return outcome === BAD ? `${counts[BAD]} of ${asked}` : spaced(OUTCOMES[outcome]);
};

// What the eyes have from the place of a square, or do not need.
const unseen = (words) => h("span", { class: "unseen" }, words);
const unheard = (mark) => h("span", { "aria-hidden": "true" }, mark);

const square = (id, first) => {
  const every = squares.get(id), own = every.filter((i) => found.chosen[i]), name = squareName(every[0]);
  const pair = unseen(`${pairName(parts(every[0]), " to ")}: `), tabindex = first ? 0 : -1;
  if (!own.some((i) => found.cells[i])) return a({ open: name }, { class: "square off", tabindex }, pair, unseen("no match"), unheard("·"));
  const s = sum(own), asked = s.outcome === GOOD || s.outcome === BAD, hits = own.reduce((n, i) => n + found.hits[i], 0);
  const node = a(
    { open: name },
    { class: `square ${asked ? `t${s.worst}` : OUTCOME_TONES[s.outcome]}`, tabindex },
    pair,
    h("b", {}, asked ? null : unheard(`${OUTCOME_MARKS[s.outcome]} `), label(s)),
    asked ? h("small", { class: "tier" }, unheard(TIER_MARKS[s.worst]), h("span", {}, ` ${TIERS[s.worst]}`)) : null,
    asked && s.counts[MISSING] ? h("small", {}, `${s.counts[MISSING]} not here`) : null,
    found.deep ? h("small", {}, many(hits, "match", "matches")) : null,
    s.fresh ? h("small", { class: "new" }, `${s.fresh} new`) : null,
    s.counts[BAD] ? h("i", { "aria-hidden": "true" }) : null,
  );
  node.style.setProperty("--share", `${Math.max(4, (100 * s.counts[BAD]) / s.asked)}%`);
  return node;
};

const fill = ({ grid, title, body }) => {
  if (body.firstChild) return;
  const pairs = grid.pairs.filter(
    ({ old, now }) => (!S.from || D.releases[old] === S.from) && (!S.to || D.releases[now] === S.to),
  );
  const side = (name) => [...new Set(pairs.map((pair) => pair[name]))].sort((x, y) => x - y);
  const olds = side("old"), news = side("now"), ids = new Map(pairs.map(({ old, now, id }) => [`${old} ${now}`, id]));
  const self = pairs.every(({ old, now }) => old === now);
  let first = true;
  const cell = (old, now) => {
    const id = ids.get(`${old} ${now}`);
    if (id === undefined) return h("td");
    const node = h("td", {}, square(id, first));
    first = false;
    return node;
  };
  const line = (name, cells) => h("tr", {}, h("th", { scope: "row" }, name), cells);
  const lines = self
    ? line("itself", news.map((now) => cell(now, now)))
    : olds.map((old) => line(D.releases[old], news.map((now) => cell(old, now))));
  const heads = news.map((now) => h("th", { scope: "col" }, D.releases[now]));
  const corner = h("th", { scope: "col" }, self ? "with" : "from \\ to");
  const head = h("thead", {}, h("tr", {}, corner, heads));
  const made = h("table", { class: "grid", role: "grid", "aria-label": title }, head, h("tbody", {}, lines));
  made.style.setProperty("--n", news.length);
  body.append(made);
  if (body.classList.contains("compact")) for (const node of body.querySelectorAll(".square")) node.title = node.textContent;
};

const sectionOf = ({ subject, check }) => {
  if (subject < subjects.drivers) return `Driver ${subjects.names[subject]}`;
  return D.checks[check] === "static" ? "Recorded interfaces" : `Surface ${subjects.names[subject]}`;
};

const cardOf = (grid) => {
  const subject = subjects.names[grid.subject], check = D.checks[grid.check], title = `${subject}, ${check}`;
  const name = grid.subject >= subjects.drivers && check === "static" ? subject : check;
  const body = h("div", { class: D.releases.length > COMPACT ? "compact" : "roomy" });
  const node = h("article", { class: "card", "aria-label": title }, h("h3", {}, name), h("p", {}, purpose({ check, subject })), body);
  return { grid, node, title, body };
};

const legend = () =>
  h(
    "ul",
    { class: "legend", "aria-label": "Legend" },
    TIERS.map((tier, i) => h("li", { class: `t${i}` }, `${TIER_MARKS[i]} ${tier}`)),
    [UNFIT, MISSING, BROKEN].map((o) => h("li", { class: OUTCOME_TONES[o] }, `${OUTCOME_MARKS[o]} ${spaced(OUTCOMES[o])}`)),
    h("li", {}, "bar: share of incompatible cases"),
  );

const showMatrix = (whole = false) => {
  const sections = new Map();
  watcher?.disconnect();
  cards = grids.filter(({ pairs }) => pairs.some(({ id }) => squares.get(id).some((i) => found.cells[i]))).map(cardOf);
  for (const card of cards) {
    const name = sectionOf(card.grid);
    if (!sections.has(name)) sections.set(name, h("div", { class: "cards" }));
    sections.get(name).append(card.node);
  }
  const shown = [...sections].map(([name, nodes]) => h("section", {}, h("h2", {}, name), nodes));
  const none = h("p", { class: "note" }, "No square has what the filter asks for.");
  $("panel-matrix").replaceChildren(legend(), ...(shown.length ? shown : [none]));
  if (whole || squares.size <= MANY) {
    cards.forEach(fill);
    return;
  }
  const of = new Map(cards.map((card) => [card.body, card]));
  watcher = new IntersectionObserver(
    (seen) => {
      for (const { target } of seen.filter((one) => one.isIntersecting)) {
        watcher.unobserve(target);
        fill(of.get(target));
      }
    },
    { rootMargin: "600px" },
  );
  for (const { grid, body } of cards) {
    body.style.minHeight = `${2.3 * (new Set(grid.pairs.map(({ old }) => old)).size + 1)}rem`;
    watcher.observe(body);
  }
};

// Arrows, Home and End within a grid, Page Up and Page Down between grids. One square of a grid takes the focus.
const keys = (event) => {
  const from = event.target.closest(".square");
  if (!from || event.altKey || event.metaKey) return;
  const tr = from.closest("tr"), rows = [...tr.parentNode.rows], y = rows.indexOf(tr), x = from.closest("td").cellIndex;
  const along = (down, right) => {
    for (let j = y + down, k = x + right; rows[j]?.cells[k]; j += down, k += right) {
      const node = rows[j].cells[k].querySelector(".square");
      if (node) return node;
    }
    return null;
  };
  const other = (step) => {
    const card = cards[cards.findIndex(({ node }) => node.contains(from)) + step];
    if (card) fill(card);
    return card?.node.querySelector(".square");
  };
  const own = [...(event.ctrlKey ? tr.parentNode : tr).querySelectorAll(".square")];
  const moves = {
    ArrowUp: () => along(-1, 0), ArrowDown: () => along(1, 0), ArrowLeft: () => along(0, -1), ArrowRight: () => along(0, 1),
    Home: () => own[0], End: () => own.at(-1), PageUp: () => other(-1), PageDown: () => other(1),
  };
  if (event.key === " ") from.click();
  else if (!moves[event.key] || (event.ctrlKey && !["Home", "End"].includes(event.key))) return;
  event.preventDefault();
  const to = moves[event.key]?.();
  if (!to) return;
  for (const node of to.closest("table").querySelectorAll('.square[tabindex="0"]')) node.setAttribute("tabindex", -1);
  to.setAttribute("tabindex", 0);
  to.focus();
};
