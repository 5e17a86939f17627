/* The operator page, live: each event of the stream swaps the page's main part for the server's.
   Without this script the page is the same, and "Refresh" fetches it again. */
(() => {
"use strict";
const OLD_MS = 5000, id = name => document.getElementById(name);
let last = Date.now(), busy = false, again = false;

const focusable = () => [...id("main").querySelectorAll("a[href],[tabindex]")];

async function swap() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    const answer = await fetch("/operator", {cache: "no-store"});
    if (!answer.ok) throw new Error(answer.status);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const at = focusable().indexOf(document.activeElement);
    const scrolled = [...document.querySelectorAll(".scroll")].map(e => e.scrollLeft);
    id("main").replaceChildren(...fresh.getElementById("main").childNodes);
    id("asof").replaceChildren(...fresh.getElementById("asof").childNodes);
    document.title = fresh.title;
    document.querySelectorAll(".scroll").forEach((e, i) => { e.scrollLeft = scrolled[i] || 0; });
    if (at >= 0 && focusable()[at]) focusable()[at].focus({preventScroll: true});
    last = Date.now();
    alive(true);
  } catch { /* the clock below says that nothing came */ }
  busy = false;
  if (again) { again = false; swap(); }
}

function alive(yes) {
  if (!yes && id("lost").hidden) id("lost-at").textContent = id("at").textContent;
  id("lost").hidden = yes;
  id("main").classList.toggle("aged", !yes);
}

const stream = new EventSource("/operator/state");
stream.addEventListener("state", swap);
/* A browser gives up for good on some errors (a 503 of the balancer): then open it again. */
let source = stream;
setInterval(() => {
  if (Date.now() - last > OLD_MS) alive(false);
  if (source.readyState === EventSource.CLOSED) {
    source = new EventSource("/operator/state");
    source.addEventListener("state", swap);
  }
}, 1000);
})();
