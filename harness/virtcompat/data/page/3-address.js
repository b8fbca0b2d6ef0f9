// The address says what is shown; the filter says which cells and findings that is.
const DEFAULTS = {
  tab: "matrix", from: "", to: "", driver: "", check: "", kind: "", outcome: "", tier: "", ledger: "", q: "",
  list: "findings", page: "1", open: "",
};
const FILTERS = ["from", "to", "driver", "check", "kind", "outcome", "tier", "ledger", "q"];
let S = {}, found;

const parse = () => {
  const given = new URLSearchParams(location.hash.replace(/^#\/?/, "")), state = { ...DEFAULTS };
  for (const key of Object.keys(DEFAULTS)) if (given.has(key)) state[key] = given.get(key);
  const known = (key) => [...$("form").elements[key].options].some((option) => option.value === state[key]);
  const wrong = FILTERS.filter((key) => key !== "q" && !known(key));
  state.wrong = wrong.map((key) => `${key} “${state[key]}”`).join(", ");
  for (const key of wrong) state[key] = "";
  if (!$(`panel-${state.tab}`)) state.tab = DEFAULTS.tab;
  return state;
};

const link = (changes) => {
  const next = { ...S, ...changes }, told = Object.keys(DEFAULTS).filter((key) => next[key] !== DEFAULTS[key]);
  return `#/${told.map((key) => `${key}=${encodeURIComponent(next[key].toWellFormed()).replaceAll("%2F", "/")}`).join("&")}`;
};

const go = (changes, quietly = false) => {
  if (quietly) history.replaceState(null, "", link(changes));
  else location.hash = link(changes);
  render();
};

const a = (changes, attributes, ...children) => h("a", { ...attributes, href: link(changes) }, ...children);

// A test for each word of the query: is it in any field of a row? Each different text is looked at once.
const tests = (query) =>
  query.toLowerCase().split(/\s+/).filter(Boolean).map((word) => {
    const has = (text) => text.toLowerCase().includes(word);
    const text = Uint8Array.from(D.words, has), change = D.changes.map(has), tier = TIERS.map(has);
    const entry = [false, ...D.ledger.map((e) => has(e.id) || has(e.summary))], cell = new Int8Array(D.size);
    const inCell = (i) => (cell[i] ||= has(cellName(i)) ? 1 : -1) > 0;
    const { path, old, new: now, entry: entries, change: changes, tier: tiers } = D.rows;
    return (r, v, i) =>
      text[path[r]] || text[old[r]] || text[now[r]] || text[D.verdicts.case[v]] || entry[entries[r]] ||
      change[changes[r]] || tier[tiers[r]] || inCell(i);
  });

const sift = () => {
  const number = (names, name) => (name ? names.indexOf(name) : -1);
  const outcome = number(OUTCOMES, S.outcome), tier = number(TIERS, S.tier), { worst } = D.cells;
  const same = [
    [D.cells.old, number(D.releases, S.from)], [D.cells.new, number(D.releases, S.to)],
    [D.cells.check, number(D.checks, S.check)], [D.cells.kind, number(D.kinds, S.kind)],
    [subjects.of, number(subjects.names, S.driver)],
  ].filter(([, wanted]) => wanted >= 0);
  // Chosen are the cells that a square counts; of them those have what is looked for that make it show.
  const chosen = new Uint8Array(D.size), cells = new Uint8Array(D.size), hits = new Int32Array(D.size);
  for (let i = 0; i < D.size; i++) {
    chosen[i] = same.every(([column, wanted]) => column[i] === wanted);
    cells[i] = chosen[i] && worst[i] >= tier && (outcome < 0 || D.counts[outcome][i] > 0);
  }
  const { entry, change, tier: tiers } = D.rows, all = tests(S.q), buckets = TIERS.map(() => []);
  const standing = { known: (r) => entry[r], none: (r) => !entry[r] && change[r] >= 0, waived: (r) => D.waived.has(r) };
  const stands = standing[S.ledger] ?? (() => true);
  for (let r = 0; r < tiers.length; r++) {
    const v = D.verdictOf[r], i = D.cellOf[v];
    const fits = cells[i] && tiers[r] >= tier && (outcome < 0 || D.verdicts.outcome[v] === outcome);
    if (!fits || !stands(r) || !all.every((test) => test(r, v, i))) continue;
    hits[i]++;
    buckets[tiers[r]].push(r);
  }
  const deep = Boolean(S.ledger || all.length);
  if (deep) for (let i = 0; i < D.size; i++) cells[i] &&= hits[i] > 0;
  found = { chosen, cells, hits, deep, rows: buckets.reverse().flat() };
};
