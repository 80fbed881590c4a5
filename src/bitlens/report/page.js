"use strict";
(() => {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const NARROW = 520;
  const plots = [...document.querySelectorAll("figure > .plot")];

  // A legend beside the plot would leave no room for the plot on a phone.
  const fit = (layout, width) => {
    const beside = layout.legend && layout.legend.orientation === "v";
    if (!beside || width >= NARROW) return layout;
    const legend = { ...layout.legend, orientation: "h", x: 0, y: -0.2 };
    return { ...layout, legend, height: layout.height + 90 };
  };

  const ink = (isDark) => {
    const color = isDark ? "#d5dbe1" : "#30363d";
    const label = { bgcolor: isDark ? "#2a3037" : "#ffffff", font: { color } };
    return { "font.color": color, hoverlabel: label };
  };

  const paint = (isDark) => plots.forEach((plot) => Plotly.relayout(plot, ink(isDark)));

  for (const plot of plots) {
    const figure = JSON.parse(plot.nextElementSibling.textContent);
    const layout = fit(figure.layout, plot.clientWidth);
    plot.style.height = `${layout.height}px`;
    const color = ink(dark.matches);
    layout.font = { ...layout.font, color: color["font.color"] };
    layout.hoverlabel = color.hoverlabel;
    const config = { responsive: true, displayModeBar: false };
    Plotly.newPlot(plot, figure.data, layout, config);
  }

  dark.addEventListener("change", (event) => paint(event.matches));
  window.addEventListener("beforeprint", () => paint(false));
  window.addEventListener("afterprint", () => paint(dark.matches));
})();
