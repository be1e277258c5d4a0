// The review page. Each verdict is sent at once and waited for, so that at most one can be unsaved.

const $ = (id) => document.getElementById(id);
const KEYS = { 1: "right", r: "right", 2: "wrong", w: "wrong", 3: "partly", p: "partly", 4: "unsure", u: "unsure" };
const NAME = "robustcmr-reviewer";
const tabs = "BroadcastChannel" in window ? new BroadcastChannel("robustcmr-review") : null;

let state = null; // as the server last told it
let shown = null; // the pair on the page
let busy = false; // a verdict is on its way
let second = false; // whether second opinions are given too
let asked = 0; // counts requests of the state, so that a late answer changes nothing
let ahead = []; // pictures that are being loaded for the next pairs
let scale = 1;

// The name is kept in this tab, and in this browser for the next page; a name given to the command comes between.
const kept = (store) => {
  try { return window[store].getItem(NAME); } catch { return null; }
};
const remember = (name) => {
  for (const store of ["sessionStorage", "localStorage"]) {
    try { window[store].setItem(NAME, name); } catch { /* a private window keeps it for this page alone */ }
  }
};
let by = kept("sessionStorage");

function mark() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

async function once(path, body) {
  const options = body === undefined ? {} : { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path + (second ? (path.includes("?") ? "&" : "?") + "second=1" : ""), { cache: "no-store", ...options });
  if (!answer.ok) {
    const error = new Error((await answer.text()).trim());
    error.status = answer.status;
    throw error;
  }
  return answer.json();
}

// Ask until the server answers; a verdict carries its own mark, so that one that is sent twice counts once.
async function ask(path, body, unsaved) {
  for (let wait = 500; ; wait = Math.min(2 * wait, 5000)) {
    try {
      const found = await once(path, body);
      trouble("");
      return found;
    } catch (error) {
      if (error.status !== undefined && error.status !== 503) throw error;
      const what = error.status === 503 ? error.message : "The server does not answer. Give the command again, and open the address that it prints.";
      trouble(unsaved ? `${what} Not saved yet: ${unsaved}.` : what);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
}

const stateOf = () => `state${by ? `?by=${encodeURIComponent(by)}` : ""}`;

async function refresh() {
  const mine = ++asked;
  try {
    const found = await ask(stateOf());
    if (mine === asked && !busy) take(found, shown && shown.pair);
  } catch (error) {
    trouble(error.message);
    if (error.status === 400) askName();
  }
}

// Show a state; the pair on the page stays if it still waits, else a second tab would take it away while being read.
function take(found, keep) {
  state = found;
  if (!by && (state.reviewer || kept("localStorage"))) {
    by = state.reviewer || kept("localStorage");
    remember(by);
    refresh();
    return;
  }
  if (!by) { askName(); draw(null); return; }
  const stays = keep ? state.queue.find((card) => card.pair === keep) : null;
  draw(stays || state.queue[0] || null);
}

async function judge(verdict) {
  if (busy || !shown || !by) return;
  const card = shown;
  busy = true; asked++;
  press(verdict, true);
  try {
    const found = await ask("verdict", { pair: card.pair, verdict, by, mark: mark() }, verdict);
    $("said").textContent = `${verdict}. ${found.judged} of ${found.total} judged.`;
    take(found, null);
    if (tabs) tabs.postMessage("changed");
  } catch (error) {
    trouble(error.message);
  } finally {
    busy = false;
    press(verdict, false);
  }
}

async function undo() {
  if (busy || !state || !state.last) return;
  busy = true; asked++;
  try {
    const found = await ask("undo", { ...state.last, by }, "undo");
    $("said").textContent = "The last verdict was taken back.";
    take(found, null);
    if (tabs) tabs.postMessage("changed");
  } catch (error) {
    trouble(error.message);
    if (error.status === 404) { busy = false; await refresh(); }
  } finally {
    busy = false;
  }
}

function press(verdict, on) {
  document.querySelector(`[data-verdict="${verdict}"]`).classList.toggle("pressed", on);
}

const address = (one) => (one.picture ? `picture/${one.picture}` : state.load_urls && one.link ? one.link : null);

function draw(card) {
  const changed = (shown && shown.pair) !== (card && card.pair);
  shown = card;
  $("pair").hidden = !card;
  $("verdicts").hidden = !by;
  for (const button of document.querySelectorAll("[data-verdict]")) button.disabled = !card;
  $("undo").disabled = !state.last;
  if (changed && $("zoom").open) $("zoom").close();
  if (card) {
    if (changed) { drawPicture(card); window.scrollTo(0, 0); }
    $("caption").textContent = card.caption;
    $("id").textContent = `id ${card.id}`;
    drawAgain(card);
    drawSuggestions(card);
  }
  drawProgress();
  drawDone(card);
  drawOutcome();
  ahead = state.queue.slice(1).map((next) => address(next)).filter(Boolean).map(load);
}

function load(source) {
  const picture = new Image();
  picture.referrerPolicy = "no-referrer";
  picture.src = source;
  return picture;
}

function drawPicture(card) {
  const source = address(card);
  $("enlarge").hidden = !source;
  $("nopicture").hidden = Boolean(source) || Boolean(card.link);
  $("nopicture").textContent = card.name ? `There is no picture of ${card.name}.` : "There is no picture.";
  $("link").hidden = !card.link;
  $("link").replaceChildren();
  if (card.link) $("link").append(linkTo(card.link));
  $("picture").removeAttribute("src");
  if (!source) return;
  $("enlarge").classList.add("loading");
  $("picture").referrerPolicy = "no-referrer";
  $("picture").onload = () => $("enlarge").classList.remove("loading");
  $("picture").onerror = () => noPicture(card, source);
  $("picture").src = source;
}

async function noPicture(card, source) {
  if (shown !== card && (!shown || shown.pair !== card.pair)) return;
  let why = "it cannot be loaded";
  if (card.picture) {
    try {
      const answer = await fetch(source);
      if (answer.status === 404) why = (await answer.text()).trim();
    } catch { why = "the server does not answer"; }
  }
  $("enlarge").hidden = true;
  $("nopicture").hidden = false;
  $("nopicture").textContent = `The picture ${card.name} cannot be shown: ${why}.`;
}

function linkTo(target) {
  const link = document.createElement("a");
  link.href = target;
  link.target = "_blank";
  link.rel = "noopener noreferrer";
  link.textContent = `Open ${target}`;
  return link;
}

function drawAgain(card) {
  const why = {
    again: `Reviewers disagree: ${card.said.map((one) => `${one.by} said ${one.verdict}`).join(", ")}. Please look again.`,
    second: "Somebody has judged this pair; yours is a second opinion.",
  }[card.why];
  $("again").hidden = !why;
  $("again").textContent = why || "";
}

function drawSuggestions(card) {
  $("suggestions").hidden = !card.suggestions.length;
  $("suggestions").replaceChildren();
  for (const one of card.suggestions) {
    const sure = one.probability === null ? "" : ` (fits with ${percent(one.probability)})`;
    const title = document.createElement("h2");
    title.textContent = (one.kind === "caption" ? "A caption that may fit better" : "A picture that may fit the caption better") + sure;
    const source = one.kind === "image" ? address(one) : null;
    const what = source ? load(source) : one.kind === "image" && one.link ? linkTo(one.link) : document.createElement("p");
    if (source) what.alt = "Suggested picture";
    else if (what.tagName === "P") { what.textContent = one.kind === "caption" ? one.caption : one.name; what.dir = "auto"; }
    $("suggestions").append(title, what);
  }
}

function drawProgress() {
  $("count").textContent = `${state.judged} of ${state.total}`;
  $("progress").max = Math.max(1, state.total);
  $("progress").value = state.judged;
  $("who").hidden = !by;
  $("who").textContent = by;
  document.title = `${state.judged} of ${state.total} · Review ${state.title}`;
}

function drawDone(card) {
  const done = Boolean(by) && !card;
  $("done").hidden = !done;
  if (!done) return;
  const all = state.judged >= state.total;
  $("done-title").textContent = all ? "All pairs have a verdict." : "Nothing is left for you.";
  $("done-text").textContent = `${by}: ${state.mine} judged. Verdicts are saved; this page can be closed.`;
  $("more").hidden = second || !state.others;
  $("more").textContent = `Give a second opinion on ${state.others} more`;
}

const percent = (share) => `${(100 * share).toFixed(1)}%`;

function drawOutcome() {
  const found = state.estimate;
  $("outcome").hidden = false;
  const place = shown ? document.querySelector(".beside") : $("main");
  if ($("outcome").parentElement !== place) place.append($("outcome"));
  $("rate").textContent = found ? `Wrong pairs: ${percent(found.value)}` : "";
  $("interval").textContent = found ? `95% interval ${percent(found.low)} to ${percent(found.high)}` : "The share of wrong pairs comes after some more verdicts.";
  $("people").textContent = [
    ...Object.entries(state.reviewers).map(([name, verdicts]) => `${name} judged ${Object.values(verdicts).reduce((a, b) => a + b, 0)}`),
    ...state.agreements.map((one) => `${one.reviewers.join(" and ")} agree on ${percent(one.share)} of ${one.pairs}${one.kappa === null ? "" : ` (kappa ${one.kappa.toFixed(2)})`}`),
  ].join(" · ");
  drawCurve(state.curve);
}

function drawCurve(points) {
  $("curve").toggleAttribute("hidden", points.length < 2);
  if (points.length < 2) return;
  const top = Math.min(1, Math.ceil(10 * Math.max(...points.map((point) => point[3]))) / 10 || 0.1);
  const x = (count) => 30 + (280 * count) / Math.max(state.total, points.at(-1)[0]);
  const y = (share) => 76 - (68 * share) / top;
  const path = (pairs) => pairs.map(([a, b], i) => `${i ? "L" : "M"}${a.toFixed(1)} ${b.toFixed(1)}`).join("");
  const band = `${path([...points.map((p) => [x(p[0]), y(p[3])]), ...points.toReversed().map((p) => [x(p[0]), y(p[2])])])}Z`;
  const parts = [
    ["path", { class: "axis", d: `M30 8V76H310` }], ["path", { class: "band", d: band }],
    ["path", { class: "line", d: path(points.map((p) => [x(p[0]), y(p[1])])) }],
    ["text", { x: 26, y: 11, "text-anchor": "end" }, percent(top)], ["text", { x: 26, y: 78, "text-anchor": "end" }, "0%"],
    ["text", { x: 310, y: 87, "text-anchor": "end" }, `${Math.max(state.total, points.at(-1)[0])} pairs`],
  ].map(([name, values, text]) => {
    const part = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(values)) part.setAttribute(key, value);
    if (text) part.textContent = text;
    return part;
  });
  $("curve").replaceChildren(...parts);
  $("curve").setAttribute("aria-label", `Share of wrong pairs after ${points.at(-1)[0]} pairs, with its interval`);
}

function askName() {
  if ($("name").open) return;
  const names = state ? Object.keys(state.reviewers) : [];
  $("names").replaceChildren(...names.map((name) => Object.assign(document.createElement("option"), { value: name })));
  $("name-field").value = by || "";
  $("name").showModal();
  $("name-field").focus();
}

$("name").addEventListener("close", () => {
  const name = $("name-field").value.trim();
  if (name) { by = name; remember(name); }
  if (by) refresh(); else askName();
});

function zoom(by_) {
  scale = Math.min(8, Math.max(1, scale * by_));
  const large = $("large");
  const fit = Math.min(innerWidth / large.naturalWidth, innerHeight / large.naturalHeight) || 1;
  large.style.width = `${large.naturalWidth * fit * scale}px`;
}

function toggleZoom() {
  if ($("zoom").open) { $("zoom").close(); return; }
  if (!shown || $("enlarge").hidden || !$("picture").naturalWidth) return;
  scale = 1;
  $("large").src = $("picture").src;
  $("large").onload = () => zoom(1);
  $("zoom").showModal();
  zoom(1);
}

document.addEventListener("keydown", (event) => {
  if ((event.target instanceof HTMLInputElement && event.target.type === "text") || $("name").open || $("keys").open || event.altKey) return;
  const key = event.key.toLowerCase();
  const command = event.ctrlKey || event.metaKey;
  if (key === "z" || (key === "backspace" && !command)) { event.preventDefault(); if (!event.repeat) undo(); return; }
  if (command) return;
  if (key === " ") { event.preventDefault(); toggleZoom(); return; }
  if ($("zoom").open && (key === "+" || key === "=")) { zoom(1.5); return; }
  if ($("zoom").open && key === "-") { zoom(1 / 1.5); return; }
  if (key === "?") { $("keys").showModal(); return; }
  if (KEYS[key] && !event.repeat) { event.preventDefault(); judge(KEYS[key]); } // a key held down is one verdict
});

for (const button of document.querySelectorAll("[data-verdict]")) button.addEventListener("click", () => judge(button.dataset.verdict));
$("undo").addEventListener("click", undo);
$("enlarge").addEventListener("click", toggleZoom);
$("large").addEventListener("click", () => $("zoom").close());
$("larger").addEventListener("click", () => zoom(1.5));
$("smaller").addEventListener("click", () => zoom(1 / 1.5));
$("close").addEventListener("click", () => $("zoom").close());
$("who").addEventListener("click", askName);
$("help").addEventListener("click", () => $("keys").showModal());
$("more").addEventListener("click", () => { second = true; refresh(); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && by && !busy) refresh(); });
if (tabs) tabs.onmessage = () => { if (!busy) refresh(); };
refresh();
