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

  // The planes of all variants move together: one bar chooses values, seed, step and layers.
  const movePlanes = (bar, panels) => {
    const steps = JSON.parse(bar.dataset.steps);
    const [slider, told, play] = ["input", "output", ".play"].map((s) => bar.querySelector(s));
    const [values, view] = ["values", "view"].map((n) => bar.querySelector(`[name=${n}]`));
    const chips = [...bar.querySelectorAll(".chip")];
    const drawn = panels.map((plot) => plot.data.slice());
    const number = (value) => (typeof value === "number" ? value : null);

    // Where a track stands: on the samples, or as an estimate with its interval.
    const placed = (track, column) => {
      if (values.value === "sample") return { x: track.x, y: track.y };
      const of = (name) => track.customdata.map((row) => number(row[column[name]]));
      return { x: of("entropy_cwj"), y: of("information_cwj") };
    };

    const interval = (rows, column, name, at, sign) =>
      rows.map((row, i) => {
        const end = number(row[column[`${name}_${sign > 0 ? "high" : "low"}`]]);
        return end === null ? 0 : Math.max(0, sign * (end - at[i]));
      });

    const bars = (rows, column, name, at) => ({
      type: "data", symmetric: false, thickness: 1.5, width: 5, color: "#8c8c8c",
      visible: values.value === "estimate",
      array: interval(rows, column, name, at, 1),
      arrayminus: interval(rows, column, name, at, -1),
    });

    // Labels move to the side of their point that covers least; points on one spot share a label.
    const label = (heads, tracks, range, plot) => {
      const width = plot.clientWidth - 70;
      const height = plot.clientHeight - 60;
      const across = (x) => ((x - range.x[0]) / (range.x[1] - range.x[0])) * width;
      const down = (y) => ((range.y[1] - y) / (range.y[1] - range.y[0])) * height;
      const lines = plot.layout.meta.ceilings;
      const dots = tracks.flatMap((t) => t.x.map((x, i) => ({ x: across(x), y: down(t.y[i]) })));
      const groups = [];
      for (const head of heads) {
        const at = { x: across(head.x), y: down(head.y) };
        const near = groups.find((g) => Math.hypot(g.x - at.x, g.y - at.y) < 14);
        if (near) near.heads.push(head);
        else groups.push({ ...at, heads: [head] });
      }
      const taken = groups.map((g) => ({ left: g.x - 6, right: g.x + 6, top: g.y - 6, bottom: g.y + 6 }));
      groups.forEach((group, own) => {
        const names = group.heads.map((head) => head.label);
        const text = names.length > 2
          ? `${names[0]} … ${names[names.length - 1]} (${names.length})` : names.join(", ");
        const w = 6.6 * text.length;
        const sides = {
          "middle right": [10, -8], "middle left": [-10 - w, -8],
          "top center": [-w / 2, -24], "bottom center": [-w / 2, 8],
          "top right": [4, -22], "top left": [-4 - w, -22],
          "bottom right": [4, 6], "bottom left": [-4 - w, 6],
        };
        const tried = Object.entries(sides).map(([side, [dx, dy]]) => {
          const box = { left: group.x + dx, top: group.y + dy };
          box.right = box.left + w;
          box.bottom = box.top + 16;
          const out = Math.max(0, -box.left) + Math.max(0, box.right - width - 8) +
            Math.max(0, -8 - box.top) + Math.max(0, box.bottom - height);
          const hit = taken.filter((b, i) => i !== own && b.left < box.right &&
            b.right > box.left && b.top < box.bottom && b.bottom > box.top).length;
          const covered = dots.filter((d) => d.x > box.left && d.x < box.right &&
            d.y > box.top && d.y < box.bottom).length;
          const struck = lines.y.some((y) => down(y) > box.top && down(y) < box.bottom) +
            lines.x.some((x) => across(x) > box.left && across(x) < box.right);
          return { side, box, cost: 5 * out + 10 * hit + 3 * struck + covered };
        });
        const best = tried.reduce((a, b) => (b.cost < a.cost ? b : a));
        taken.push(best.box);
        // Plotly would throw the node of an empty text away and never draw there again.
        for (const head of group.heads) Object.assign(head, { text: " ", side: best.side });
        group.heads[0].text = text;
      });
    };

    const draw = () => {
      const step = steps[slider.value];
      const last = Number(slider.value) === steps.length - 1;
      const layers = new Set(
        chips.filter((c) => c.ariaPressed === "true").map((c) => c.dataset.layer));
      told.textContent = `step ${step.toLocaleString("en")}`;
      panels.forEach((plot, p) => {
        const { columns, ranges } = plot.layout.meta;
        const range = ranges[values.value];
        const tracks = drawn[p].filter((t) => t.meta.layer !== undefined);
        const views = [...new Set(tracks.map((t) => t.meta.view))];
        const chosen = view.value === "mean" && !views.includes("mean") ? views[0] : view.value;
        const heads = [];
        const shown = tracks.map((track) => {
          const main = track.meta.view === chosen;
          const thread = chosen === "mean" && !main;
          if (!layers.has(track.meta.layer) || !(main || thread)) {
            return { ...track, visible: false };
          }
          const at = placed(track, columns);
          if (thread) {
            return { ...track, ...at, visible: true, mode: "lines", opacity: 0.35, hoverinfo: "skip",
              hovertemplate: undefined };
          }
          const times = track.customdata.map((row) => row[columns.step]);
          const now = times.filter((time) => time <= step).length - 1;
          if (now >= 0 && number(at.x[now]) !== null && number(at.y[now]) !== null) {
            heads.push({ x: at.x[now], y: at.y[now], label: track.meta.label,
              row: track.customdata[now], color: track.marker.color[now],
              symbol: track.marker.symbol[now] });
          }
          const opacity = track.marker.opacity.map((o, i) => (i <= now || last ? o : 0.12 * o));
          return { ...track, ...at, visible: true, marker: { ...track.marker, opacity } };
        });
        label(heads, shown.filter((t) => t.mode === "lines+markers" && t.visible), range, plot);
        const of = (key) => heads.map((head) => head[key]);
        const marks = drawn[p].find((t) => t.meta.heads);
        const filled = { ...marks, x: of("x"), y: of("y"), text: of("text"),
          textposition: of("side"),
          marker: { ...marks.marker, color: of("color"), symbol: of("symbol") },
          error_x: bars(of("row"), columns, "entropy", of("x")),
          error_y: bars(of("row"), columns, "information", of("y")) };
        const layout = { ...plot.layout };
        layout.uirevision = values.value;
        layout.xaxis = { ...layout.xaxis, range: range.x };
        layout.yaxis = { ...layout.yaxis, range: range.y };
        Plotly.react(plot, [...shown, filled], layout);
      });
    };

    let waiting = false;
    const soon = () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => { waiting = false; draw(); });
    };
    let timer = null;
    const stop = () => { clearInterval(timer); timer = null; play.textContent = "play"; };
    play.addEventListener("click", () => {
      if (timer !== null) return stop();
      if (Number(slider.value) === steps.length - 1) slider.value = 0;
      play.textContent = "stop";
      timer = setInterval(() => {
        if (Number(slider.value) === steps.length - 1) return stop();
        slider.value = Number(slider.value) + 1;
        soon();
      }, 160);
    });
    for (const input of [slider, values, view]) input.addEventListener("input", soon);
    for (const chip of chips) {
      chip.addEventListener("click", () => {
        chip.ariaPressed = String(chip.ariaPressed !== "true");
        soon();
      });
      // Twice: this layer alone, or all again when it is alone already.
      chip.addEventListener("dblclick", () => {
        const alone = chips.every((c) => (c === chip) === (c.ariaPressed === "true"));
        chips.forEach((c) => { c.ariaPressed = String(alone || c === chip); });
        soon();
      });
    }
    draw();
  };

  const bar = document.querySelector(".plane-bar");
  if (bar) movePlanes(bar, plots.filter((plot) => plot.layout.meta?.plane));

  dark.addEventListener("change", (event) => paint(event.matches));
  window.addEventListener("beforeprint", () => paint(false));
  window.addEventListener("afterprint", () => paint(dark.matches));
})();
