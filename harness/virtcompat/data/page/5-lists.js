// Findings and their causes, claims, waivers, and what is said about the page.
const PAGE = 100;
const SHORT = 160;
const STANDINGS = { refuted: ["t3", "✗"], unproven: ["nh", "?"], holds: ["t0", "✓"] };

const standing = (r) => {
  const entry = entryOf(r), waiver = D.waived.get(r);
  if (waiver) return [chip("nh", "○", "waived"), " ", plain(waiver.reason)];
  if (entry) return h("span", { title: entry.summary }, plain(entry.id));
  return D.print.has(r) ? [chip("t4", "!", "new"), " ", h("code", {}, D.print.get(r))] : null;
};

const what = (r, longest = SHORT) => {
  const { path, change, old, new: now } = D.rows;
  if (change[r] < 0) return ["not asked: ", plain(D.words[now[r]] || "no reason given")];
  const only = D.words[path[r]].startsWith("(") || ["added", "accepted"].includes(D.changes[change[r]]) ? [now[r]] : [old[r], now[r]];
  const values = only.map((at) => D.words[at]).filter(Boolean).map((text) => code(text, longest));
  return [code(D.words[path[r]], 2 * longest), ` ${D.changes[change[r]]}: `, values[0], values[1] && [" → ", values[1]]];
};

const caseLink = (v) => a({ open: `${cellName(D.cellOf[v])}/${caseName(v)}` }, {}, plain(caseName(v)));

const place = (i) => {
  const { check, kind, driver } = parts(i);
  return driver === "-" ? `${check} · ${kind}` : `${check} · ${driver} · ${kind}`;
};

const finding = (r, v, more = "") =>
  row(
    D.rows.change[r] < 0 ? outcomeChip(D.verdicts.outcome[v]) : tierChip(D.rows.tier[r]),
    [caseLink(v), more && h("small", { class: "id" }, more)],
    place(D.cellOf[v]),
    h("td", { class: "pair" }, pairName(parts(D.cellOf[v]))),
    wide(what(r)),
    standing(r),
  );

const pager = (at, pages, name) => {
  const turn = (page, words) =>
    page >= 1 && page <= pages && page !== at
      ? a({ page: String(page) }, {}, words)
      : h("span", { "aria-disabled": "true" }, words);
  const turns = [turn(1, "First"), turn(at - 1, "Previous"), `page ${at} of ${amount(pages)}`, turn(at + 1, "Next"), turn(pages, "Last")];
  return h("nav", { class: "tools", "aria-label": name }, turns);
};

const showFindings = () => {
  const grouped = S.list === "causes", rows = grouped ? causes() : found.rows;
  const pages = Math.max(1, Math.ceil(rows.length / PAGE)), page = Number.parseInt(S.page, 10) || 1;
  const at = Math.min(Math.max(1, page), pages), from = (at - 1) * PAGE, end = Math.min(from + PAGE, rows.length);
  const lines = rows.slice(from, end).map((one) => {
    if (!grouped) return finding(one, D.verdictOf[one]);
    const [r, v, ...others] = one;
    return finding(r, v, others.length ? `and ${many(others.length, "more case")}` : "");
  });
  const other = grouped ? "Every finding by itself" : "Like findings together";
  const told = rows.length ? `${amount(from + 1)}–${amount(end)} of ${amount(rows.length)}, the worst first` : "none";
  const tools = h("div", { class: "tools" }, a({ list: grouped ? "findings" : "causes", page: "1" }, {}, other), told, pager(at, pages, "Pages"));
  const heads = ["tier", "case", "where", "from → to", "what", "ledger"];
  $("panel-findings").replaceChildren(h("h2", {}, grouped ? "Causes" : "Findings"), tools, table("Findings", heads, lines), pager(at, pages, "Pages, again"));
};

const causes = () => {
  const shown = new Set(found.rows);
  return D.groups.filter(([r]) => shown.has(r)).sort((x, y) => D.rows.tier[y[0]] - D.rows.tier[x[0]] || y.length - x.length);
};

const text = (value) => {
  if (Array.isArray(value)) return value.map(text).join(", ");
  if (value === null || typeof value !== "object") return plain(value ?? "");
  return Object.entries(value).map(([name, own]) => `${name} = ${text(own)}`).join(", ");
};

// A link to somewhere else, called by its host where the whole of it is not what is read.
const outside = (url, short = false) => {
  if (!/^https?:\/\//.test(url || "") || !URL.canParse(url)) return text(url);
  return h("a", { href: url, rel: "noreferrer noopener", title: url }, plain(short ? new URL(url).hostname : url));
};

// A link to what a command explains, where that is on this page.
const seen = (words) => {
  const it = locate(/^virt-compat explain (.+)$/.exec(words)?.[1] ?? "");
  return it && a({ open: it.name }, {}, "see it here");
};

const showClaims = () => {
  const order = Object.keys(STANDINGS), claims = D.claims.toSorted((x, y) => order.indexOf(x.standing) - order.indexOf(y.standing));
  const lines = claims.map((claim) =>
    row(
      chip(...(STANDINGS[claim.standing] ?? ["br", "⚠"]), text(claim.standing)),
      wide(text(claim.statement), h("small", { class: "id" }, text(claim.id))),
      text(claim.why),
      [text(claim.by), h("small", { class: "id" }, outside(claim.url, true))],
      claim.command ? [command(text(claim.command)), seen(claim.command)] : null,
    ),
  );
  const counted = order.map((name) => `${claims.filter((claim) => claim.standing === name).length} ${name}`).join(", ");
  $("panel-claims").replaceChildren(
    h("h2", {}, "Claims"),
    ...(claims.length
      ? [
          h("p", {}, `${counted}. A claim is computed from the cells, never stored; an unproven one says what is missing.`),
          table("Claims", ["standing", "statement", "why", "claimed by", "show it"], lines),
        ]
      : [h("p", {}, "No claims were given when this page was made. They stand in suites/claims/; this holds them against the cells:"), command("virt-compat claims")]),
  );
};

const showWaivers = () => {
  const lines = D.waivers.map((waiver) =>
    row(
      code(text(waiver.fingerprint)),
      wide(text(waiver.check), h("small", { class: "id" }, text(waiver.where))),
      text(waiver.reason),
      text(waiver.owner),
      outside(waiver.issue, true),
      text(waiver.expires),
      text(waiver.items),
    ),
  );
  $("panel-waivers").replaceChildren(
    h("h2", {}, "Waivers"),
    ...(lines.length
      ? [
          h("p", {}, `${many(lines.length, "waiver")}. Each accepts one exact finding, with a reason, an owner and an end; none hides it.`),
          table("Waivers", ["fingerprint", "check and place", "reason", "owner", "issue", "expires", "findings"], lines),
        ]
      : [h("p", {}, "No finding is waived. This accepts one, narrowly, with a reason and an end:"), command("virt-compat waive CELL --reason … --expires …")]),
  );
};

const showAbout = () => {
  const purposes = Object.entries(D.purposes).flatMap(([name, words]) => [h("dt", {}, name), h("dd", {}, words)]);
  $("purposes").replaceChildren(...purposes);
  const lines = [
    `${many(D.size, "cell")}, ${many(D.verdicts.case.length, "case")} with something to say, ` +
      `${many(D.rows.path.length, "finding")}, ${many(D.ledger.length, "ledger entry", "ledger entries")}.`,
    `Documents side by side are kept of incompatible cases: of the first ${D.shown} cases of each cause in each cell. ` +
      "For every other case the page has the command that shows them.",
    "Of recorded interfaces the page has the findings from break on, and of one interface the worst; virt-compat diff lists all.",
    ...D.notes,
  ];
  $("limits").replaceChildren(...lines.map((line) => h("li", {}, plain(line))));
};
