// Making nodes. Everything that comes from the data goes in as text, never as markup.
const TIERS = ["identical", "addition", "risk", "break", "guest-abi-break"];
const TIER_MARKS = ["=", "+", "~", "✗", "‼"];
const OUTCOMES = ["compatible", "incompatible", "not-applicable", "not-here", "broken"];
const OUTCOME_MARKS = ["✓", "✗", "–", "?", "⚠"];
const OUTCOME_TONES = ["t0", "t3", "na", "nh", "br"];
const [GOOD, BAD, UNFIT, MISSING, BROKEN] = OUTCOMES.keys();
const BREAK = TIERS.indexOf("break");
const $ = (id) => document.getElementById(id);

const h = (name, attributes = {}, ...children) => {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== false && value != null) node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(4).filter((child) => child != null && child !== false && child !== ""));
  return node;
};

// What is not seen, or turns a line around, is shown by name: a document is somebody else's text.
const plain = (text) =>
  String(text)
    .replace(/[\0-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(
      /[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu,
      (c) => `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟩`,
    );

const code = (text, longest = Infinity) => {
  const shown = plain(text);
  if (shown.length <= longest) return h("code", {}, shown);
  return h("code", { title: shown }, `${shown.slice(0, longest)}…`);
};

const amount = (n) => n.toLocaleString("en");
const many = (n, one, more = `${one}s`) => `${amount(n)} ${n === 1 ? one : more}`;
const spaced = (name) => name.replaceAll("-", " ");
const chip = (tone, mark, words) => h("span", { class: `chip ${tone}` }, `${mark} ${plain(words)}`);
const tierChip = (tier) => chip(`t${tier}`, TIER_MARKS[tier], TIERS[tier]);
const outcomeChip = (o) => chip(OUTCOME_TONES[o], OUTCOME_MARKS[o], spaced(OUTCOMES[o]));

const command = (words) =>
  h(
    "div",
    { class: "command" },
    h("code", {}, plain(words)),
    h("button", { type: "button", class: "copy", "data-copy": words }, "Copy"),
  );

const table = (name, heads, rows) =>
  h(
    "div",
    { class: "scroll", role: "region", tabindex: 0, "aria-label": name },
    h(
      "table",
      { class: "list" },
      h("thead", {}, h("tr", {}, heads.map((head) => h("th", { scope: "col" }, head)))),
      h("tbody", {}, rows),
    ),
  );

const row = (...cells) => h("tr", {}, cells.map((cell) => (cell instanceof HTMLTableCellElement ? cell : h("td", {}, cell))));
const wide = (...children) => h("td", { class: "what" }, children);

const copy = async (button) => {
  const words = button.dataset.copy, toast = $("toast");
  try {
    await navigator.clipboard.writeText(words);
    toast.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.previousSibling);
    toast.textContent = "Marked: copy it with the keyboard";
  }
  ($("detail").open ? $("detail") : document.body).append(toast);
  setTimeout(() => toast.replaceChildren(), 2000);
};
