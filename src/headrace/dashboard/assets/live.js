/* Asks for /data every two seconds and draws it. Text enters the page as text only. */
"use strict";
(() => {
  const PERIOD_MS = 2000;
  const byId = (id) => document.getElementById(id);
  const tone = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  const number = new Intl.NumberFormat("en-US", { maximumSignificantDigits: 4 });
  const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
  const write = {
    count: (v) => number.format(v),
    rate: (v) => short.format(v),
    ms: (v) => `${number.format(v)} ms`,
    share: (v) => `${(v * 100).toFixed(0)} %`,
    ratio: (v) => v.toFixed(2),
  };
  const CHARTS = [
    { title: "Throughput, tok/s", format: "rate", lines: [["total", "total_tok_s", "measured"], ["output", "output_tok_s", "second"]] },
    { title: "Requests", format: "count", lines: [["running", "running", "measured"], ["waiting", "waiting", "run4"]] },
    { title: "TTFT", format: "ms", lines: [["p50", "ttft_p50_ms", "measured"], ["p99", "ttft_p99_ms", "run3"]] },
    { title: "TPOT", format: "ms", lines: [["mean", "tpot_mean_ms", "measured"], ["p99", "tpot_p99_ms", "run3"]] },
    { title: "Cache use, acceptance", format: "share", lines: [["KV and state", "kv_usage", "measured"], ["acceptance", "acceptance", "second"]] },
    { title: "Errors, imbalance", format: "ratio", lines: [["errors/s", "errors_s", "run4"], ["imbalance", "imbalance", "second"]] },
  ];
  const CARDS = [
    ["total tok/s", "total_tok_s", "rate"], ["running", "running", "count"], ["waiting", "waiting", "count"],
    ["TTFT p99", "ttft_p99_ms", "ms"], ["TPOT mean", "tpot_mean_ms", "ms"], ["errors/s", "errors_s", "ratio"],
  ];
  const element = (tag, text, kind) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const last = (values) => (values.length ? values[values.length - 1] : null);

  const plotted = (spec, plan) => spec.lines.flatMap(([label, key, colour]) => {
    const measured = { label, key, colour, dashed: false };
    const predicted = plan && plan[key] ? [{ label: `${label}, planned`, key, colour: "predicted", dashed: true }] : [];
    return [measured, ...predicted];
  });

  const values = (data, line) => (line.dashed ? data.at_s.map(() => data.plan[line.key]) : data.series[line.key]);

  const make = (spec, data) => {
    const figure = element("figure");
    const heading = element("h3", spec.title);
    const said = element("span");
    heading.append(said);
    const place = element("div", undefined, "plot");
    figure.append(heading, place);
    byId("charts").append(figure);
    const lines = plotted(spec, data.plan);
    const axis = () => ({ stroke: () => tone("soft"), grid: { stroke: () => tone("grid"), width: 1 }, ticks: { show: false } });
    const plot = new uPlot({
      width: place.clientWidth, height: place.clientHeight, legend: { show: false }, cursor: { drag: { x: false, y: false } },
      scales: { y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
      axes: [axis(), { ...axis(), size: 62, values: (_, splits) => splits.map((v) => (v === null ? "" : write[spec.format](v))) }],
      series: [{}, ...lines.map((line) => ({ label: line.label, stroke: () => tone(line.colour), width: 2, dash: line.dashed ? [6, 5] : undefined, points: { show: false }, spanGaps: false }))],
    }, [[], ...lines.map(() => [])], place);
    new ResizeObserver(() => plot.setSize({ width: place.clientWidth, height: place.clientHeight })).observe(place);
    return { draw: (now) => {
      plot.setData([now.at_s, ...lines.map((line) => values(now, line))]);
      said.textContent = spec.lines.map(([label, key]) => {
        const value = last(now.series[key]);
        return `${label} ${value === null ? "none" : write[spec.format](value)}`;
      }).join("  ·  ");
    } };
  };

  const cards = (data) => byId("cards").replaceChildren(...CARDS.map(([label, key, format]) => {
    const value = last(data.series[key]);
    const card = element("li", undefined, "card");
    card.append(element("p", label, "quiet"), element("p", value === null ? "none" : write[format](value), "figure"));
    const plan = data.plan && data.plan[key];
    card.append(element("p", plan ? `plan ${write[format](plan)}` : "\u00a0", "quiet"));
    return card;
  }));

  const row = (replica, load) => {
    const line = element("tr");
    const state = element("td");
    state.append(element("span", replica.state, `state ${replica.state}`));
    if (replica.detail) state.append(element("span", ` ${replica.detail}`, "quiet"));
    const usage = element("td");
    if (load) {
      const bar = element("span", undefined, "bar");
      const fill = element("i");
      fill.style.width = `${Math.min(100, load.kv_usage * 100)}%`;
      bar.append(fill);
      usage.append(bar, write.share(load.kv_usage));
    }
    line.append(element("td", replica.id), element("td", replica.node), state,
      element("td", load ? write.count(load.running) : ""), element("td", load ? write.count(load.waiting) : ""),
      usage, element("td", load ? write.rate(load.output_tok_s) : ""), element("td", String(replica.restarts)));
    return line;
  };

  const heads = (data) => {
    const ready = data.replicas.filter((replica) => replica.state === "ready").length;
    byId("simulated").hidden = !data.simulated;
    byId("title").textContent = data.plan ? data.plan.title : data.fleet;
    document.title = `${data.fleet} live`;
    const gateway = data.gateway ? `  ·  gateway ${data.gateway.url} ${data.gateway.state}` : "";
    const rollout = data.rollout ? `  ·  plan ${data.rollout.generation} ${data.rollout.state}` : "";
    byId("under").className = "quiet";
    byId("under").textContent = `fleet ${data.fleet}  ·  ${ready} of ${data.replicas.length} replicas ready${gateway}${rollout}`;
  };

  let charts = null;
  const show = (data) => {
    if (!data.fleet) return;
    heads(data);
    cards(data);
    byId("replicas").replaceChildren(...data.replicas.map((replica) => row(replica, data.loads[replica.id])));
    charts = charts || CHARTS.map((spec) => make(spec, data));
    charts.forEach((chart) => chart.draw(data));
  };

  const turn = async () => {
    try {
      const answer = await fetch("/data");
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      show(await answer.json());
    } catch (error) {
      byId("under").className = "gone";
      byId("under").textContent = `no news from the fleet: ${error.message}`;
    }
    setTimeout(turn, PERIOD_MS);
  };
  turn();
})();
