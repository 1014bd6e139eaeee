// Progressive enhancement: every page works without this file.
"use strict";

for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", async () => {
    const label = button.querySelector("span");
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent.trim());
    const before = label.textContent;
    label.textContent = button.dataset.copied;
    setTimeout(() => { label.textContent = before; }, 2000);
  });
}

// Submits the template form on selection; without JavaScript, its button submits it.
for (const select of document.querySelectorAll("select[data-go]")) {
  select.addEventListener("change", () => { if (select.value) select.form.requestSubmit(); });
}

// Shows a field only while another one has one of the values: data-shown-for="authentication=password".
for (const field of document.querySelectorAll("[data-shown-for]")) {
  const [name, values] = field.dataset.shownFor.split("=");
  const choice = document.getElementById(name);
  const show = () => { field.hidden = !values.split(" ").includes(choice.value); };
  choice.addEventListener("change", show);
  show();
}

// Polls the progress of a running fetch or call; reloads the page when it has ended.
const live = document.querySelector("[data-live]");
if (live && !live.closest("[data-renew]")) {
  const look = async () => {
    setTimeout(look, 1500);
    const answer = await fetch(location.href).catch(() => null);
    if (!answer) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById(live.id);
    if (fresh?.dataset.live !== live.dataset.live) { location.reload(); return; }
    live.querySelector(".note__body").replaceWith(fresh.querySelector(".note__body"));
  };
  setTimeout(look, 1000);
}

// Previews the redirect URI from the values in the settings form.
const shown = document.querySelector("[data-redirect-preview]");
if (shown) {
  const value = (name) => document.getElementById(name).value.trim();
  const draw = () => {
    const alias = value("ScriptAlias").replace(/^\/+|\/+$/g, "");
    shown.textContent = `${value("HttpType")}://${value("FQDN")}/${alias ? alias + "/" : ""}${value("RedirectScript")}`;
  };
  for (const name of ["HttpType", "FQDN", "ScriptAlias", "RedirectScript"]) document.getElementById(name).addEventListener("input", draw);
}

// Passkeys (Web Authentication). The forms stay hidden where the browser cannot exchange them as JSON.
for (const form of document.querySelectorAll("form[data-passkey]")) {
  if (!window.PublicKeyCredential?.parseCreationOptionsFromJSON) continue;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const asked = JSON.parse(form.dataset.request);
    try {
      const credential = form.dataset.passkey === "create"
        ? await navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(asked) })
        : await navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(asked) });
      form.elements.response.value = JSON.stringify(credential);
      form.submit();
    } catch (error) {
      form.querySelector("[role=status]").textContent = `${form.dataset.failure} ${error.message}`;
    }
  });
}

// The key "/" goes to the search field.
document.addEventListener("keydown", (event) => {
  const field = document.querySelector(`[data-key="${CSS.escape(event.key)}"]`);
  if (!field || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  event.preventDefault();
  field.focus();
});

// Escape, Cancel and a click elsewhere close a question; the focus goes back to its button.
const close = (question) => {
  question.open = false;
  question.querySelector("summary").focus();
};
document.addEventListener("keydown", (event) => {
  const question = event.key === "Escape" && document.querySelector("details.ask[open]");
  if (question) close(question);
});
document.addEventListener("click", (event) => {
  for (const question of document.querySelectorAll("details.ask[open]")) {
    if (event.target.closest("[data-close]") || !question.contains(event.target)) close(question);
  }
});

// The box in the heading of a list selects all rows of the page.
document.documentElement.classList.add("js");
document.addEventListener("change", (event) => {
  if (!event.target.matches("[data-choose-all]")) return;
  for (const box of document.querySelectorAll(".chosen input[name=id]")) box.checked = event.target.checked;
});

// Renews lists and figures every ten seconds or as often as the element says, unless the reader is at work in them, until
// the server no longer asks for it; data-renew-form names a form whose answer has them.
const parts = [...document.querySelectorAll("[data-renew]")];
const renewed = parts.map((part) => part.id);
if (renewed.length) {
  const isInUse = (part) => part.contains(document.activeElement) || part.querySelector("input:checked, details[open]");
  const form = document.getElementById(parts[0].dataset.renewForm);
  const ask = () => form
    ? fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { "X-Renewal": "1" } })
    : fetch(location.href, { headers: { "X-Renewal": "1" } });
  const renew = async () => {
    if (document.hidden || renewed.some((id) => isInUse(document.getElementById(id)))) return;
    const answer = await ask().catch(() => null);
    if (!answer?.ok || answer.redirected) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of renewed) {
      const part = fresh.getElementById(id);
      if (!part || isInUse(document.getElementById(id))) continue;
      document.getElementById(id).innerHTML = part.innerHTML;
      document.getElementById(id).className = part.className;
      if (!part.hasAttribute("data-renew")) clearInterval(timer);
    }
  };
  const timer = setInterval(renew, 1000 * Math.min(...parts.map((part) => Number(part.dataset.renew) || 10)));
}

// After a form with errors, the summary of the errors has the focus.
document.querySelector("[data-focus]")?.focus();
