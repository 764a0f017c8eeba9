// The console's script: keeps an open page up to date, counts ages on, and saves a few clicks.
// Everything works without it.
"use strict";
(() => {
  const root = document.documentElement;
  const skew = Date.now() - Number(root.dataset.now);
  const relative = new Intl.RelativeTimeFormat(root.lang, { numeric: "auto", style: "short" });
  const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];

  function countAges() {
    const now = Date.now() - skew;
    for (const time of document.querySelectorAll("time[data-age]")) {
      const seconds = Math.round((new Date(time.dateTime).getTime() - now) / 1000);
      const [unit, size] = units.find(([, least]) => Math.abs(seconds) >= least) || units[3];
      const text = relative.format(Math.trunc(Math.min(seconds, 0) / size), unit);
      if (time.textContent !== text) time.textContent = text;
    }
  }

  // what a person marked or opened in a part of the page stays so when the part is put in anew
  function replace(part, html) {
    const marked = new Set([...part.querySelectorAll("input[type=checkbox]:checked")].map((box) => box.name + box.value));
    const opened = new Set([...part.querySelectorAll("details[open]")].map((one) => one.id));
    const focused = part.contains(document.activeElement) && document.activeElement;
    part.innerHTML = html;
    for (const box of part.querySelectorAll("input[type=checkbox]")) box.checked = marked.has(box.name + box.value);
    for (const one of part.querySelectorAll("details[id]")) if (opened.has(one.id)) one.open = true;
    if (focused) [...part.querySelectorAll("a, button, input")].find((one) => one.outerHTML === focused.outerHTML)?.focus();
    countAges();
  }

  function follow() {
    const shown = document.body.dataset.shown;
    const liveness = document.querySelector(".liveness");
    if (!shown || !liveness) return;
    const tell = (good) => {
      liveness.hidden = false;
      liveness.classList.toggle("lost", !good);
      const text = good ? liveness.dataset.liveText : liveness.dataset.lostText;
      if (liveness.lastElementChild.textContent !== text) liveness.lastElementChild.textContent = text;
    };
    const address = new URL(location.href);
    address.searchParams.set("_live", shown);
    const events = new EventSource(address);
    events.onopen = () => tell(true);
    events.onerror = () => tell(false);
    events.addEventListener("regions", (event) => {
      for (const [name, html] of Object.entries(JSON.parse(event.data))) {
        const part = document.getElementById("live-" + name);
        if (part) replace(part, html);
      }
    });
    events.addEventListener("reload", () => location.reload());
    events.addEventListener("left", () => { events.close(); location.reload(); });
    addEventListener("pagehide", () => events.close());
  }

  // fields that belong to some kinds only
  function chooseKinds(form) {
    const kind = form.elements[form.dataset.kinds];
    const choose = () => {
      for (const part of form.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(kind.value);
    };
    kind.addEventListener("change", choose);
    choose();
  }

  document.addEventListener("change", (event) => {
    const changed = event.target;
    if (changed.dataset.all) {
      const within = changed.dataset.of ? document.getElementById(changed.dataset.of) : document;
      const boxes = [...document.querySelectorAll(`input[name="${changed.dataset.all}"]`)];
      for (const box of boxes) if (within.contains?.(box) || box.form === within) box.checked = changed.checked;
    } else if (changed.form?.dataset.auto !== undefined && changed.tagName === "SELECT") {
      changed.form.requestSubmit();
    }
  });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing) {
      const find = document.getElementById("find");
      if (find) { event.preventDefault(); find.focus(); find.select(); }
    }
    if (event.key === "Escape") for (const menu of document.querySelectorAll(".menu[open]")) menu.open = false;
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll(".menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("submit", (event) => {
    if (event.target.method !== "post") return;
    // one press, one deed
    if (event.target.dataset.sent) event.preventDefault();
    event.target.dataset.sent = "yes";
  });

  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
  });

  for (const form of document.querySelectorAll("form[data-kinds]")) chooseKinds(form);
  countAges();
  setInterval(countAges, 1000);
  follow();
})();
