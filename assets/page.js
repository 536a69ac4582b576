/* The little that Gradio and Plotly leave to a page: files made in the browser, the clipboard, and marks for screen
   readers. Everything hangs on one name, `prunoscope`. */
window.prunoscope = {
  /** Hand a file to the person. */
  save(name, url) {
    const link = Object.assign(document.createElement("a"), { href: url, download: `prunoscope-${name}` });
    document.body.append(link);
    link.click();
    link.remove();
  },

  saveText(name, text) {
    if (!text) return;
    const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
    prunoscope.save(name, url);
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  },

  /** What a figure shows, by the heading that stands before it. */
  finding(element) {
    for (let at = element; at; at = at.parentElement)
      for (let before = at.previousElementSibling; before; before = before.previousElementSibling) {
        const heading = [...before.querySelectorAll(".finding h3")].pop();
        if (heading) return heading.textContent.trim();
      }
    return "";
  },

  /** A figure as a "png" or "svg" file, on white and under its finding, as no page is around it. */
  async saveFigure(name, format) {
    const plot = document.querySelector(`#plot-${name} .js-plotly-plot`);
    if (!plot) return;
    const { width, height } = plot.getBoundingClientRect();
    const words = prunoscope.finding(document.querySelector(`#plot-${name}`)).split(" ");
    const lines = [""];
    for (const word of words)
      if ((lines.at(-1) + word).length * 8 > width) lines.push(word);
      else lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
    const room = lines[0] ? 16 + 20 * lines.length : 0, ink = "#334155";
    const layout = {
      ...plot.layout,
      paper_bgcolor: "#ffffff",
      plot_bgcolor: "#ffffff",
      font: { ...plot.layout.font, color: ink },
      margin: { ...plot.layout.margin, t: (plot.layout.margin?.t ?? 0) + room },
    };
    if (room)
      layout.title = { text: lines.join("<br>"), font: { size: 15, color: ink }, x: 0, xref: "container", xanchor: "left",
        pad: { l: 12, t: 8 }, y: 1, yref: "container", yanchor: "top" };
    const size = { width: Math.round(width), height: Math.round(height + room) };
    const url = await Plotly.toImage({ data: plot.data, layout: { ...layout, ...size } }, { format, scale: 2, ...size });
    prunoscope.save(`${name}.${format}`, url);
  },

  /** The question that stands in its box. */
  typed() {
    return document.querySelector("#question textarea")?.value ?? "";
  },

  copyLink(query) {
    return prunoscope.copy(`${location.origin}${location.pathname}${query ? "?" + query : ""}`);
  },

  /** To the clipboard; pages without https have none of the modern kind. */
  async copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const box = Object.assign(document.createElement("textarea"), { value: text });
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  },

  /** Names for what Gradio and Plotly leave nameless: a figure is one picture, which says its finding; an empty place
      of Gradio's has a name but no role that may carry one, an empty chat the role of a part of the page, and a picture
      beside a word of the footer says the same word again. */
  name() {
    for (const figure of document.querySelectorAll(".figure")) {
      const drawn = figure.querySelector(".svg-container");
      if (!drawn) continue;
      const numbers = document.querySelector("#figure-words")?.textContent.trim() ?? "";  // in the page's language
      const label = [prunoscope.finding(figure), numbers].filter(x => x).join(". ");
      if (drawn.getAttribute("aria-label") === label) continue;
      drawn.setAttribute("role", "img");
      drawn.setAttribute("aria-label", label);
    }
    for (const empty of document.querySelectorAll(".empty[aria-label]:not([role])")) empty.setAttribute("role", "img");
    for (const empty of document.querySelectorAll(".placeholder-content[role]")) empty.removeAttribute("role");
    for (const picture of document.querySelectorAll('footer img:not([alt=""])')) picture.alt = "";
  },

  /** Why a button cannot be pressed, as its tooltip: what is drawn says it unseen, by the button's id. */
  why() {
    for (const said of document.querySelectorAll("[data-why]")) {
      const button = document.getElementById(said.dataset.why);
      const reason = button?.disabled ? said.textContent : "";
      if (button && button.title !== reason) button.title = reason;
    }
  },
};

{
  // A figure that was drawn on a hidden tab, or before the rail closed, takes the width that it has now.
  const fit = new ResizeObserver(entries => {
    for (const { target, contentRect } of entries)
      if (contentRect.width && target._fullLayout && Math.abs(target._fullLayout.width - contentRect.width) > 1)
        Plotly.Plots.resize(target);
  });
  const fitted = new WeakSet();
  prunoscope.fit = () => {
    for (const plot of document.querySelectorAll(".figure .js-plotly-plot"))
      if (!fitted.has(plot)) {
        fitted.add(plot);
        fit.observe(plot);
      }
  };

  // Somebody who comes back after a while may find that models were put away: the page looks again at once, and sees
  // them being brought back by what was just pressed, where its next look by the clock may be half a minute off.
  const AWAY = 10_000, AFTER = 400;  // ms
  let last = Date.now();
  for (const doing of ["pointerdown", "keydown"])
    document.addEventListener(doing, () => {
      if (Date.now() - last > AWAY) setTimeout(() => document.querySelector("#look")?.click(), AFTER);
      last = Date.now();
    }, { capture: true, passive: true });

  let waiting = false;
  new MutationObserver(() => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      prunoscope.name();
      prunoscope.fit();
      prunoscope.why();
    });
  }).observe(document, { childList: true, subtree: true, attributes: true, attributeFilter: ["disabled"] });
}
