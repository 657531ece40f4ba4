// What the server cannot do: the reader's time zone, their colours, and saying that it is away.
"use strict"

const THEMES = { "": "auto", light: "light", dark: "dark" }
const LOOK_SECONDS = 4

function showLocalTimes(root) {
  const shape = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" })
  for (const element of root.querySelectorAll("time[datetime]")) {
    element.textContent = shape.format(new Date(element.dateTime))
  }
}

function offerThemes() {
  const button = document.getElementById("theme")
  const show = () => {
    const name = THEMES[document.documentElement.dataset.theme ?? ""]
    button.textContent = `Colours: ${name}`
  }
  button.addEventListener("click", () => {
    const names = Object.keys(THEMES)
    const now = document.documentElement.dataset.theme ?? ""
    const next = names[(names.indexOf(now) + 1) % names.length]
    if (next) document.documentElement.dataset.theme = next
    else delete document.documentElement.dataset.theme
    try { localStorage.setItem(THEME, next) } catch { /* chosen for this page only */ }
    show()
  })
  button.hidden = false
  show()
}

let isAway = false

function sayConnection(away) {
  const bar = document.getElementById("connection")
  if (away) {
    bar.className = "away"
    bar.textContent = "The service does not answer. Trying again…"
    bar.hidden = false
  } else if (isAway) {
    bar.className = "back"
    bar.textContent = "Connected again."
    setTimeout(() => { if (!isAway) bar.hidden = true }, 6000)
    document.body.dispatchEvent(new Event("rebuilt"))
  }
  isAway = away
}

async function look() {
  if (document.visibilityState === "visible") {
    try {
      await fetch("/health", { cache: "no-store", signal: AbortSignal.timeout(LOOK_SECONDS * 1000) })
      sayConnection(false)
    } catch {
      sayConnection(true)
    }
  }
  setTimeout(look, (isAway ? 1 : LOOK_SECONDS) * 1000)
}

document.addEventListener("DOMContentLoaded", () => {
  offerThemes()
  showLocalTimes(document)
  setTimeout(look, LOOK_SECONDS * 1000)
})
document.addEventListener("htmx:afterSwap", (event) => showLocalTimes(event.detail.elt.isConnected ? event.detail.elt.parentElement ?? document : document))
document.addEventListener("htmx:oobAfterSwap", () => showLocalTimes(document))
document.addEventListener("htmx:sendError", () => sayConnection(true))
