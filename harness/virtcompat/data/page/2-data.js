// The data: columns of numbers, unpacked once, and what is counted from them.
let D, squares, grids, subjects;

const unpack = async (words) => {
  const raw = atob(words), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
};

// Where each thing's members start, of how many each has; and back from a member to what it belongs to.
const starts = (lengths) => {
  const at = new Int32Array(lengths.length + 1);
  for (let i = 0; i < lengths.length; i++) at[i + 1] = at[i] + lengths[i];
  return at;
};
const owners = (at) => {
  const own = new Int32Array(at[at.length - 1]);
  for (let i = 0; i + 1 < at.length; i++) own.fill(i, at[i], at[i + 1]);
  return own;
};
const range = (from, end) => Array.from({ length: end - from }, (_, k) => from + k);

const prepare = () => {
  const { cells, verdicts } = D;
  D.size = cells.check.length;
  D.verdictAt = starts(cells.verdicts);
  D.cellOf = owners(D.verdictAt);
  D.rowAt = starts(verdicts.rows);
  D.verdictOf = owners(D.rowAt);
  D.place = new Map(D.exhibits.map(([verdict, pack, at]) => [verdict, [pack, at]]));
  D.print = new Map(D.prints);
  const waivers = new Map(D.waivers.map((waiver) => [waiver.fingerprint, waiver]));
  D.waived = new Map(D.prints.filter(([, p]) => waivers.has(p)).map(([r, p]) => [r, waivers.get(p)]));
  // A subject is what a grid is about: a driver, or a surface that has none.
  const none = D.drivers.indexOf("-"), named = D.drivers.filter((name) => name !== "-").sort();
  const kinds = new Set(cells.kind.filter((_, i) => cells.driver[i] === none));
  const names = [...named, ...[...kinds].map((kind) => D.kinds[kind]).sort()];
  const number = (name) => names.indexOf(name);
  const ofDriver = D.drivers.map(number), ofKind = D.kinds.map((name) => names.lastIndexOf(name));
  subjects = { names, drivers: named.length, of: new Int32Array(D.size) };
  for (let i = 0; i < D.size; i++) {
    subjects.of[i] = cells.driver[i] === none ? ofKind[cells.kind[i]] : ofDriver[cells.driver[i]];
  }
  arrange();
};

// Squares by number: the cells of one subject, check and pair. Grids: squares of one subject and check, in order.
const arrange = () => {
  const { check, old, new: now } = D.cells, n = D.releases.length, found = new Map();
  squares = new Map();
  for (let i = 0; i < D.size; i++) {
    const grid = subjects.of[i] * D.checks.length + check[i], id = (grid * n + old[i]) * n + now[i];
    if (squares.has(id)) {
      squares.get(id).push(i);
      continue;
    }
    squares.set(id, [i]);
    if (!found.has(grid)) found.set(grid, { subject: subjects.of[i], check: check[i], pairs: [] });
    found.get(grid).pairs.push({ old: old[i], now: now[i], id });
  }
  const order = D.checks.toSorted(), rank = D.checks.map((name) => order.indexOf(name));
  const fits = (i) => D.counts.some((count, o) => o !== UNFIT && count[i]);
  grids = [...found.values()]
    .filter((grid) => grid.pairs.some(({ id }) => squares.get(id).some(fits)))
    .sort((a, b) => a.subject - b.subject || rank[a.check] - rank[b.check]);
};

const parts = (i) => ({
  check: D.checks[D.cells.check[i]],
  kind: D.kinds[D.cells.kind[i]],
  driver: D.drivers[D.cells.driver[i]],
  subject: subjects.names[subjects.of[i]],
  old: D.releases[D.cells.old[i]],
  now: D.releases[D.cells.new[i]],
});
const cellName = (i) => {
  const { check, kind, driver, old, now } = parts(i);
  return [check, kind, driver, old, now].join("/");
};
const squareName = (i) => {
  const { check, subject, old, now } = parts(i);
  return [check, subject, old, now].join("/");
};
const pairName = ({ old, now }, arrow = " → ") => (old === now ? old : old + arrow + now);
const caseName = (v) => D.words[D.verdicts.case[v]];
const purpose = ({ check, subject }) => D.purposes[check === "static" ? subject : check] || "";
const entryOf = (r) => D.ledger[D.rows.entry[r] - 1];

// What several cells come to: the worst that was seen, and only then what could not be asked.
const sum = (cells) => {
  const counts = D.counts.map((count) => cells.reduce((n, i) => n + count[i], 0));
  const worst = Math.max(0, ...cells.map((i) => D.cells.worst[i]));
  const fresh = cells.reduce((n, i) => n + D.cells.unexplained[i], 0);
  const outcome = [BROKEN, BAD, GOOD, MISSING].find((o) => counts[o]) ?? UNFIT;
  return { counts, worst, fresh, outcome, asked: counts[GOOD] + counts[BAD] };
};
