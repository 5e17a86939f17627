/* Florin, in the browser. Everything here is comfort: each page does its work without it. No library, no inline code. */
(() => {
"use strict";
const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];
const on = (t, f, r = document) => r.addEventListener(t, f);
const say = text => { const p = $("#say") || document.body.appendChild(Object.assign(document.createElement("p"), {id: "say", className: "vh"})); p.setAttribute("role", "status"); p.textContent = text; };

/* money: integers of minor units only; a float never holds an amount */
const exp = +($("[data-exp]")?.dataset.exp ?? 2), unit = 10 ** exp;
const minor = text => { const m = /^\s*(\d{1,10})(?:[.,](\d*))?\s*$/.exec(text || ""); return m && (m[2] || "").length <= exp ? +m[1] * unit + +(m[2] || "").padEnd(exp, "0") : null; };
const show = (n, cur, lang) => new Intl.NumberFormat(lang, {style: "currency", currency: cur, minimumFractionDigits: n % unit ? exp : 0}).format(n / unit);

/* preview: what is typed appears on the card beside it */
for (const form of $$("form[data-live]")) {
  const put = (name, text) => $$(`[data-out="${name}"]`).forEach(e => { if (text) { e.textContent = text; if (name === "sum") e.classList.toggle("gcard__sum--long", text.length > 5); } });
  const draw = () => {
    const v = new FormData(form), lang = document.documentElement.lang, cur = form.dataset.live;
    const sum = v.get("amount") === "other" ? minor(v.get("sum")) : +v.get("amount");
    if (sum) { put("sum", show(sum, cur, lang)); put("total", show(sum, cur, lang)); }
    $$('use[data-out="design"]').forEach(u => u.setAttribute("href", "#d-" + v.get("design")));
    for (const k of ["message", "from", "to"]) put(k, v.get(k));
    const left = $("[data-left]", form); if (left) left.textContent = left.dataset.left.replace("{n}", 400 - (v.get("message") || "").length);
    if (v.get("when") === "later" && v.get("date")) {
      const day = new Date(v.get("date") + "T12:00Z").toLocaleDateString(lang, {weekday: "long", day: "numeric", month: "long", timeZone: "UTC"});
      put("when", `${day}, ${v.get("time")} · ${(v.get("zone") || "").split(" (")[0]}`);
    } else put("when", form.dataset.now);
  };
  on("input", draw, form); draw();
}

/* codes: groups of four while one types, O read as 0, I and L as 1; the server reads it the same way */
for (const box of $$("[data-code]")) on("input", () => {
  const raw = box.value.toUpperCase().replace(/O/g, "0").replace(/[IL]/g, "1").replace(/[^0-9A-Z]/g, "").slice(0, 16);
  if (box.selectionStart === box.value.length) box.value = raw.replace(/(.{4})(?=.)/g, "$1 ");
}, box);

/* copy */
on("click", async e => { const b = e.target.closest("[data-copy]"); if (!b) return;
  try { await navigator.clipboard.writeText(b.dataset.copy); say(b.dataset.done || "Copied."); const w = $("span", b) || b, old = w.textContent; w.textContent = b.dataset.done || "Copied"; setTimeout(() => w.textContent = old, 2000); } catch { /* the text stands beside the button */ } });

/* one press, one request: the button says so; the key in the form makes a second one harmless anyway */
on("submit", e => { const b = e.submitter; if (e.defaultPrevented || !b || !b.dataset.busy) return;
  setTimeout(() => { b.setAttribute("aria-busy", "true"); b.setAttribute("aria-disabled", "true"); ($("span", b) || b).textContent = b.dataset.busy; }); });
on("click", e => { if (e.target.closest('[aria-busy="true"]')) e.preventDefault(); }, document);

/* till: a change is sent again with its key until there is an answer, also after a reload or a sign-in; this tab keeps it until then */
const again = $("form[data-again]"), unsettled = $("[data-unsettled]"), KEPT = "florin-change";
const keep = change => change ? sessionStorage.setItem(KEPT, JSON.stringify(change)) : sessionStorage.removeItem(KEPT);
const settle = async (change, wait = 1000) => { try {
    const r = await fetch(change.action, {method: "POST", body: new URLSearchParams(change.body), signal: AbortSignal.timeout?.(20000)}), text = await r.text();
    const open = text.includes("data-again"), out = r.redirected && new URL(r.url).pathname === "/sign-in";
    if (r.status > 500 && !open || change.late && [401, 408, 429, 500].includes(r.status)) throw r.status; // no answer of the till, or not to the first request
    if (!open && !(out && change.late)) keep();
    if (r.redirected) location.assign(out ? "/sign-in?next=/till" : r.url);
    else if (r.ok) { // the page of a POST, which a reload repeats: a code is shown on no other
      const form = Object.assign(document.createElement("form"), {method: "post", action: change.action});
      for (const [name, value] of change.body) form.append(Object.assign(document.createElement("input"), {type: "hidden", name, value}));
      document.body.append(form); form.submit(); }
    else { document.open(); document.write(text); document.close(); $("[autofocus]")?.focus(); }
  } catch { change.late = true; keep(change); unsettled.hidden = false; setTimeout(settle, wait, change, Math.min(wait * 2, 15000)); } };
on("submit", e => { const form = e.target; if (e.defaultPrevented || !form.matches("[data-settle]")) return;
  let body; try { body = [...new FormData(form, e.submitter)]; } catch { return; } // an old browser sends it itself
  e.preventDefault(); if (form.dataset.settle) return; form.dataset.settle = "sent";
  const change = {action: form.action, body, late: !!form.dataset.again}; keep(change); settle(change); });
const lost = unsettled && !again && JSON.parse(sessionStorage.getItem(KEPT)); if (lost) { lost.late = true; unsettled.hidden = false; settle(lost); }

/* till: pad, quick amounts, keys */
const box = $("[data-pad-box]");
if (box) {
  const cents = () => +box.value.replace(/\D/g, "") || 0;
  const set = n => { n = Math.min(n, 99999999); box.value = exp ? `${Math.floor(n / unit)}.${String(n % unit).padStart(exp, "0")}` : n; box.dispatchEvent(new Event("input", {bubbles: true})); };
  on("click", e => { const k = e.target.closest("[data-pad]"); if (!k) return; const v = k.dataset.pad;
    set(v === "back" ? Math.floor(cents() / 10) : v === "00" ? cents() * 100 : v[0] === "=" ? +v.slice(1) : cents() * 10 + +v); });
  const has = +box.dataset.has, lang = document.documentElement.lang, word = $("[data-take]");
  if (word) on("input", () => { const n = minor(box.value) || 0, take = Math.min(n, has); word.textContent = word.dataset.take.replace("{sum}", show(take, box.dataset.cur, lang)); const rest = $("[data-rest]"); if (rest) { rest.hidden = n <= has; $("[data-rest-sum]", rest).textContent = show(Math.max(0, n - has), box.dataset.cur, lang); } }, box);
}
on("keydown", e => { if (e.ctrlKey || e.altKey || e.metaKey) return; const b = $(`[data-key="${e.key}"]`); if (b) { e.preventDefault(); b.focus(); b.click(); } });

/* a scanner types fast and ends with Enter: wherever the focus is, it ends up in the code field */
const scan = $("[data-scan]");
if (scan) on("keydown", e => { if (e.target === document.body && e.key.length === 1 && !e.ctrlKey && !e.metaKey && !e.altKey) scan.focus(); });

/* pieces that are fetched again while the page is looked at */
for (const part of $$("[data-refresh]")) { const every = +part.dataset.refresh * 1000; let wait = every;
  const again = async () => { if (!document.hidden) try {
      const r = await fetch(location.href, {headers: {"Florin-Part": part.id}}); if (!r.ok) throw r.status;
      const fresh = new DOMParser().parseFromString(await r.text(), "text/html").getElementById(part.id);
      if (fresh && !part.contains(document.activeElement)) part.replaceChildren(...fresh.childNodes); wait = every;
    } catch { wait = Math.min(wait * 2, 60000); } setTimeout(again, wait); };
  setTimeout(again, wait); }

/* small things */
on("click", e => { const x = e.target.closest("[data-dismiss]"); if (x) x.closest(x.dataset.dismiss).remove();
  for (const d of $$("details.menu[open]")) if (!d.contains(e.target)) d.open = false; });
on("keydown", e => { if (e.key === "Escape") for (const d of $$("details.menu[open]")) { d.open = false; $("summary", d).focus(); } });
on("click", e => { if (e.target.closest("[data-print]")) print(); });
/* an outcome that is not known yet: the same form again, with the same key */
if (again) setTimeout(() => again.requestSubmit ? again.requestSubmit() : again.submit(), again.dataset.again * 1000);

/* the camera reads a code: by the browser's own detector (Shape Detection), else by a reader that is loaded when the camera is opened */
const camera = $("[data-camera]");
if (camera && !navigator.mediaDevices) camera.hidden = true; // not a secure address
else if (camera) { const view = $("video", camera), code = $("[data-code]"); let stream;
  const load = src => new Promise((done, failed) => document.head.append(Object.assign(document.createElement("script"), {src, onload: done, onerror: failed})));
  const open = async () => {
    if ((await window.BarcodeDetector?.getSupportedFormats() || []).includes("qr_code")) {
      const own = new BarcodeDetector({formats: ["qr_code", "code_128"]}); return async () => (await own.detect(view))[0]?.rawValue; }
    if (!window.ZXingWASM) await load(camera.dataset.reader);
    await ZXingWASM.prepareZXingModule({overrides: {locateFile: () => camera.dataset.wasm}, fireImmediately: true});
    const at = document.createElement("canvas"), pen = at.getContext("2d", {willReadFrequently: true});
    return async () => { at.width = view.videoWidth; at.height = view.videoHeight; pen.drawImage(view, 0, 0);
      return (await ZXingWASM.readBarcodes(pen.getImageData(0, 0, at.width, at.height), {formats: ["QRCode", "Code128"], maxNumberOfSymbols: 1}))[0]?.text; }; };
  let asked = false;
  const close = () => { stream?.getTracks().forEach(t => t.stop()); stream = null; view.hidden = true; };
  on("click", async () => { if (stream) return close(); if (asked) return; asked = true; $("[data-camera-away]", camera).hidden = true; try {
      const mine = stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "environment", width: {ideal: 1280}}});
      asked = false; view.srcObject = mine; view.hidden = false; const [read] = await Promise.all([open(), view.play()]);
      while (stream === mine) { const hit = await read(); if (hit && stream === mine) { close(); code.value = hit; code.form.requestSubmit(); } await new Promise(r => setTimeout(r, 100)); }
    } catch { asked = false; close(); $("[data-camera-away]", camera).hidden = false; } }, $("[data-camera-start]", camera)); }
const retry = $("[data-retry]"); if (retry) setTimeout(() => location.reload(), retry.dataset.retry * 1000);
const err = $("[data-errors]"); if (err) err.focus();
if ($("[data-awake]") && navigator.wakeLock) { const hold = () => navigator.wakeLock.request("screen").catch(() => {}); hold(); on("visibilitychange", () => document.hidden || hold()); }
addEventListener("online", () => document.documentElement.removeAttribute("data-offline")); addEventListener("offline", () => document.documentElement.setAttribute("data-offline", ""));
})();
