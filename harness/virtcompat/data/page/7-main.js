// Start: unpack, fill the filter, and from then on show what the address says.
const THEMES = { "": "as the system", light: "light", dark: "dark" };
const LEDGER = { known: "in an entry", none: "in no entry", waived: "waived" };

const options = (name, ...groups) => {
  const option = ([value, words]) => h("option", { value }, words);
  const own = groups.map(([title, pairs]) => (title ? h("optgroup", { label: title }, pairs.map(option)) : pairs.map(option)));
  $("form").elements[name].replaceChildren(option(["", "any"]), ...own.flat());
};
const named = (names, words = (name) => name) => names.map((name) => [name, words(name)]);

const fillForm = () => {
  const { names, drivers } = subjects;
  options("from", ["", named(D.releases)]);
  options("to", ["", named(D.releases)]);
  options("driver", ["Drivers", named(names.slice(0, drivers))], ["Surfaces", named(names.slice(drivers))]);
  options("check", ["", named(D.checks.toSorted())]);
  options("kind", ["", named(D.kinds.toSorted())]);
  options("outcome", ["", named(OUTCOMES, spaced)]);
  options("tier", ["", named(TIERS.slice(1))]);
  options("ledger", ["", Object.entries(LEDGER)]);
};

const showStatus = () => {
  const total = grids.reduce((n, { pairs }) => n + pairs.length, 0), set = FILTERS.filter((key) => S[key]);
  const has = ({ id }) => squares.get(id).some((i) => found.cells[i]);
  const shown = grids.reduce((n, { pairs }) => n + pairs.filter(has).length, 0);
  const asked = set.map((key) => `${key === "q" ? "text" : key} ${S[key]}`).join(", ");
  const every = `${many(total, "square")}, ${many(D.rows.path.length, "finding")}.`;
  const some = `${amount(shown)} of ${many(total, "square")}, ${amount(found.rows.length)} of ${many(D.rows.path.length, "finding")}: ${plain(asked)}.`;
  const lost = S.wrong && ` The address asks for what is not on this page: ${plain(S.wrong)}.`;
  $("status").textContent = (set.length ? some : every) + lost;
  $("reset").disabled = !set.length;
  document.querySelector("#filters summary").textContent = set.length ? `Filter (${set.length} set)` : "Filter";
};

const VIEWS = { matrix: showMatrix, findings: showFindings, claims: showClaims };

const render = () => {
  const before = S;
  S = parse();
  const changed = (...names) => names.some((name) => S[name] !== before[name]);
  const refined = changed(...FILTERS);
  if (refined) {
    for (const key of FILTERS) {
      const field = $("form").elements[key];
      if (field.value !== S[key]) field.value = S[key];
      field.classList.toggle("set", Boolean(S[key]));
    }
    sift();
  }
  if (refined || S.wrong !== before.wrong) showStatus();
  for (const tab of $("tabs").children) {
    const chosen = tab.dataset.tab === S.tab;
    tab.setAttribute("aria-selected", chosen);
    tab.setAttribute("tabindex", chosen ? 0 : -1);
    $(tab.getAttribute("aria-controls")).hidden = !chosen;
  }
  document.body.dataset.tab = S.tab;
  if (refined || changed("tab", "list", "page")) VIEWS[S.tab]?.();
  if (changed("open")) showDetail();
};

const paint = (theme) => {
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
  $("theme").textContent = `Colours: ${THEMES[theme]}`;
};

const turnTabs = (event) => {
  const tabs = [...$("tabs").children], at = tabs.indexOf(event.target), last = tabs.length - 1;
  const to = { ArrowRight: at < last ? at + 1 : 0, ArrowLeft: at ? at - 1 : last, Home: 0, End: last }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  tabs[to].focus();
  tabs[to].click();
};

const listen = () => {
  let waiting, theme = "";
  addEventListener("hashchange", render);
  addEventListener("beforeprint", () => {
    showMatrix(true);
    showClaims();
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest(".copy");
    if (button) copy(button);
  });
  $("form").addEventListener("input", (event) => {
    const changes = { [event.target.name]: event.target.value, page: "1" };
    clearTimeout(waiting);
    if (event.target.name === "q") waiting = setTimeout(() => go(changes, true), 150);
    else go(changes);
  });
  $("form").addEventListener("submit", (event) => event.preventDefault());
  $("reset").addEventListener("click", () => go({ ...Object.fromEntries(FILTERS.map((key) => [key, ""])), page: "1" }));
  $("tabs").addEventListener("click", (event) => event.target.dataset.tab && go({ tab: event.target.dataset.tab }));
  $("tabs").addEventListener("keydown", turnTabs);
  $("panel-matrix").addEventListener("keydown", keys);
  $("close").addEventListener("click", () => $("detail").close());
  $("detail").addEventListener("close", () => S.open && go({ open: "" }));
  $("detail").addEventListener("click", (event) => event.target === $("detail") && $("detail").close());
  $("skip").addEventListener("click", (event) => {
    event.preventDefault();
    $("main").focus();
  });
  $("theme").addEventListener("click", () => {
    const names = Object.keys(THEMES);
    theme = names[(names.indexOf(theme) + 1) % names.length];
    paint(theme);
  });
};

(async () => {
  try {
    D = await unpack($("data").textContent);
    prepare();
    fillForm();
    listen();
    $("tab-claims").textContent = `Claims (${D.claims.length})`;
    $("tab-waivers").textContent = `Waivers (${D.waivers.length})`;
    showAbout();
    showWaivers();
    const narrow = matchMedia("(max-width: 47.99rem)");
    $("filters").open = !narrow.matches;
    narrow.addEventListener("change", () => ($("filters").open = true));
    render();
    $("trouble").remove();
    document.documentElement.dataset.ready = "";
    performance.mark("ready");
  } catch (error) {
    $("trouble").setAttribute("role", "alert");
    $("trouble").classList.remove("late");
    throw error;
  }
})();
