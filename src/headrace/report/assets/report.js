/* Draws the charts of a Headrace report with uPlot. The data stands in the page, in #charts. */
"use strict";
(() => {
  const specs = JSON.parse(document.getElementById("charts").textContent);
  const drawn = new Map();

  /* Colours live in the style sheet, so that light, dark and print need no second list. */
  const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const faded = (colour, share) => colour + Math.round(share * 255).toString(16).padStart(2, "0");

  const grouped = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
  const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });
  const write = {
    count: (v) => grouped.format(v),
    rate: (v) => `${grouped.format(Math.round(v))} tok/s`,
    share: (v) => `${(v * 100).toPrecision(3)} %`,
    ms: (v) => `${grouped.format(v)} ms`,
    s: (v) => `${grouped.format(v)} s`,
  };
  const tick = {
    count: (v) => short.format(v),
    rate: (v) => short.format(v),
    share: (v) => `${+(v * 100).toPrecision(3)} %`,
    ms: (v) => (v >= 1000 ? `${short.format(v / 1000)} s` : `${short.format(v)} ms`),
    s: (v) => `${short.format(v)} s`,
  };

  const axis = (format) => ({
    stroke: tone("soft"),
    font: "12px system-ui, sans-serif",
    grid: { stroke: tone("grid"), width: 1 },
    ticks: { show: false },
    values: (_, splits) => splits.map((v) => (v === null ? "" : tick[format](v))),
  });

  const seriesOf = (spec) => (s) => {
    const colour = tone(s.tone);
    const base = { label: s.label, stroke: colour, width: 2, spanGaps: true, points: { show: spec.notes.length > 0, size: 5, fill: colour } };
    if (s.dashed) base.dash = [6, 5];
    if (s.style === "area") return { ...base, fill: faded(colour, 0.16) };
    if (s.style === "bars") {
      const paths = uPlot.paths.bars({ size: [1, Infinity], gap: 1, align: 0 });
      return { ...base, width: 0, fill: faded(colour, 0.85), paths };
    }
    if (s.style === "points") {
      const points = { show: true, size: spec.parity ? 9 : 12, fill: colour, stroke: tone("card"), width: spec.parity ? 1 : 2 };
      return { ...base, paths: () => null, points };
    }
    return base;
  };

  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);

  const drawShade = (u, shade) => {
    const { left, top, width, height } = u.bbox;
    const x0 = clamp(u.valToPos(shade.begin, "x", true), left, left + width);
    const x1 = clamp(u.valToPos(shade.end, "x", true), left, left + width);
    const y0 = shade.high === null ? top : clamp(u.valToPos(shade.high, "y", true), top, top + height);
    const y1 = shade.low === null ? top + height : clamp(u.valToPos(shade.low, "y", true), top, top + height);
    u.ctx.fillStyle = shade.tone === "shade" ? tone("shade") : faded(tone(shade.tone), 0.14);
    u.ctx.fillRect(x0, y0, x1 - x0, y1 - y0);
    label(u, shade.label, x0 + 6 * devicePixelRatio, top + 14 * devicePixelRatio, tone("soft"), "left");
  };

  const label = (u, text, x, y, colour, align) => {
    if (!text) return;
    u.ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
    u.ctx.textAlign = align;
    u.ctx.fillStyle = colour;
    u.ctx.fillText(text, x, y);
  };

  const drawMark = (u, mark, row) => {
    const { left, top, width, height } = u.bbox;
    const x = u.valToPos(mark.at, "x", true);
    if (x < left || x > left + width) return;
    const colour = tone(mark.tone);
    u.ctx.save();
    u.ctx.strokeStyle = colour;
    u.ctx.lineWidth = 1.5 * devicePixelRatio;
    u.ctx.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
    u.ctx.beginPath();
    u.ctx.moveTo(x, top);
    u.ctx.lineTo(x, top + height);
    u.ctx.stroke();
    u.ctx.restore();
    const onRight = x < left + width * 0.75;
    const y = top + (12 + 14 * row) * devicePixelRatio;
    label(u, mark.label, x + (onRight ? 5 : -5) * devicePixelRatio, y, colour, onRight ? "left" : "right");
  };

  /* The diagonal, the lines beside it, and each point's band. */
  const drawParity = (u, spec) => {
    const { within, low, high } = spec.parity;
    const { left, top, width, height } = u.bbox;
    const { min, max } = u.scales.x;
    const line = (x0, y0, x1, y1, colour, dash) => {
      u.ctx.strokeStyle = colour;
      u.ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
      u.ctx.beginPath();
      u.ctx.moveTo(u.valToPos(x0, "x", true), u.valToPos(y0, "y", true));
      u.ctx.lineTo(u.valToPos(x1, "x", true), u.valToPos(y1, "y", true));
      u.ctx.stroke();
    };
    u.ctx.save();
    u.ctx.beginPath();
    u.ctx.rect(left, top, width, height);
    u.ctx.clip();
    u.ctx.lineWidth = 1.5 * devicePixelRatio;
    low.forEach((value, i) => {
      if (value !== null) line(spec.x[i], value, spec.x[i], high[i], faded(tone("muted"), 0.45), []);
    });
    line(min, min, max, max, tone("soft"), []);
    for (const share of [1 - within, 1 + within]) line(min, min * share, max, max * share, tone("muted"), [5, 4]);
    u.ctx.restore();
  };

  const predictedAt = (spec, index) => spec.series.find((s) => s.values[index] !== null)?.values[index];

  /* A name that would overlap one before it is left out: the table beside the chart has it. */
  const drawNames = (u, spec) => {
    const taken = [];
    for (const [i, name] of spec.parity.names) {
      const x = u.valToPos(spec.x[i], "x", true);
      const y = u.valToPos(predictedAt(spec, i), "y", true);
      if (taken.some((other) => Math.abs(other - y) < 14 * devicePixelRatio)) continue;
      taken.push(y);
      const onRight = x < u.bbox.left + u.bbox.width / 2;
      label(u, name, x + (onRight ? 8 : -8) * devicePixelRatio, y + 4 * devicePixelRatio, tone("ink"), onRight ? "left" : "right");
    }
  };

  /* Round values over a logarithmic axis: the wider it is, the fewer in each decade. */
  const logSplits = (_, __, min, max) => {
    const decades = Math.log10(max / min);
    const steps = decades > 3 ? [1] : decades > 1.2 ? [1, 2, 5] : decades > 0.5 ? [1, 1.5, 2, 3, 5, 7] : [1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9];
    const found = [];
    for (let power = Math.floor(Math.log10(min)); 10 ** power <= max; power++) found.push(...steps.map((step) => step * 10 ** power));
    return found.filter((value) => value >= min && value <= max);
  };

  /* The point under the pointer, by distance and not by x alone. */
  const nearest = (u, spec) => {
    const away = spec.x.map((x, i) => Math.hypot(
      u.valToPos(x, "x") - u.cursor.left, u.valToPos(predictedAt(spec, i), "y") - u.cursor.top));
    return away.indexOf(Math.min(...away));
  };

  const parityRange = (spec) => {
    const { low, high } = spec.parity;
    const all = [...spec.x, ...low, ...high, ...spec.series.flatMap((s) => s.values)].filter((v) => v !== null);
    return [Math.min(...all) / 1.15, Math.max(...all) * 1.15];
  };

  const span = (text, strong) => {
    const element = document.createElement(strong ? "b" : "span");
    element.textContent = text;
    return element;
  };

  const fillTip = (tip, spec, index) => {
    const x = span(write[spec.xAxis.format](spec.x[index]), true);
    const lines = [spec.parity ? [span(`${spec.xAxis.label}: `), x] : [x]];
    for (const s of spec.series) {
      const value = s.values[index];
      if (value !== null) lines.push([span(`${s.label}: `), span(write[spec.yAxis.format](value), true)]);
    }
    if (spec.notes.length) lines.push([span(spec.notes[index])]);
    tip.replaceChildren(...lines.map((parts) => {
      const line = document.createElement("div");
      line.append(...parts);
      return line;
    }));
  };

  const hover = (spec) => {
    let tip;
    return {
      init: (u) => {
        tip = document.createElement("div");
        tip.className = "tip";
        tip.hidden = true;
        u.over.append(tip);
        u.over.addEventListener("mouseleave", () => { tip.hidden = true; });
      },
      setCursor: (u) => {
        const { idx, left } = u.cursor;
        tip.hidden = idx === null || idx === undefined || left < 0;
        if (tip.hidden) return;
        fillTip(tip, spec, spec.parity ? nearest(u, spec) : idx);
        const room = u.over.clientWidth - tip.offsetWidth;
        const wanted = left + 14 > room ? left - tip.offsetWidth - 14 : left + 14;
        tip.style.left = `${clamp(wanted, 0, Math.max(0, room))}px`;
        tip.style.top = "8px";
      },
    };
  };

  const fromZero = (spec) => (_, low, high) => {
    if (spec.yAxis.format === "share" && high > 0.99) return [0, 1.02];
    const labels = spec.marks.length + spec.shades.filter((s) => s.label).length;
    return [0, (spec.top ?? high) * (1.06 + 0.1 * labels) || 1];
  };

  const xRange = (spec) => (_, low, high) => {
    const bars = spec.series.some((s) => s.style === "bars");
    const dots = spec.series.some((s) => s.style === "points");
    const step = bars && spec.x.length > 1 ? (spec.x[1] - spec.x[0]) / 2 : 0;
    const pad = dots ? (high - low || high || 1) * 0.06 : step;
    const marks = spec.marks.map((m) => m.at);
    const reach = Math.max(high, ...marks.filter((m) => m < high * 1.6)) + pad;
    return [Math.min(low - pad, ...marks.filter((m) => m > low - (high - low) * 0.6)), reach];
  };

  const axesOf = (spec) => {
    const round = spec.parity ? { splits: logSplits, filter: (_, splits) => splits } : {};
    return [{ ...axis(spec.xAxis.format), space: 70, size: 30, ...round }, { ...axis(spec.yAxis.format), size: 56, space: 38, ...round }];
  };

  const scalesOf = (spec) => {
    if (!spec.parity) return { x: { time: false, range: xRange(spec) }, y: { range: fromZero(spec) } };
    const both = parityRange(spec);
    return { x: { time: false, distr: 3, range: () => both }, y: { distr: 3, range: () => both } };
  };

  const cursorOf = (spec) => {
    const base = { y: false, drag: { x: false, y: false }, points: { size: spec.parity ? 13 : 7 } };
    return spec.parity ? { ...base, x: false, dataIdx: (u) => nearest(u, spec) } : base;
  };

  const draw = (place, spec) => {
    drawn.get(place)?.destroy();
    const options = {
      width: place.clientWidth,
      height: place.clientHeight,
      padding: [10, 24, 0, 0],
      legend: { show: false },
      cursor: cursorOf(spec),
      scales: scalesOf(spec),
      axes: axesOf(spec),
      series: [{}, ...spec.series.map(seriesOf(spec))],
      hooks: {
        drawClear: [(u) => spec.shades.forEach((shade) => drawShade(u, shade))],
        drawAxes: spec.parity ? [(u) => drawParity(u, spec)] : [],
        draw: spec.parity ? [(u) => drawNames(u, spec)] : [(u) => spec.marks.forEach((mark, row) => drawMark(u, mark, row))],
      },
      plugins: [{ hooks: hover(spec) }],
    };
    drawn.set(place, new uPlot(options, [spec.x, ...spec.series.map((s) => s.values)], place));
  };

  const places = [...document.querySelectorAll("[data-chart]")];
  const drawAll = () => places.forEach((place) => draw(place, specs[place.dataset.chart]));
  const resized = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const chart = drawn.get(target);
      if (chart && chart.width !== target.clientWidth) {
        chart.setSize({ width: target.clientWidth, height: target.clientHeight });
      }
    }
  });

  drawAll();
  places.forEach((place) => resized.observe(place));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

  /* On paper: light colours, whatever the screen had. */
  const printing = (on) => () => {
    document.documentElement.classList.toggle("printing", on);
    drawAll();
  };
  addEventListener("beforeprint", printing(true));
  addEventListener("afterprint", printing(false));
})();
