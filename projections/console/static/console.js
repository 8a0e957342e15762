"use strict";
// Says whether what is shown is live.
const place = document.querySelector(".live");
const say = (text, live) => {
  if (place) {
    place.textContent = text;
    place.classList.toggle("on", live);
  }
};
document.addEventListener("htmx:sseOpen", () => say("live", true));
document.addEventListener("htmx:sseError", () => say("not live", false));
