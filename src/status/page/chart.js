'use strict';

// Charts of rows over time. The charts of a group share their rows, their time axis, and the row that is shown.

const LEFT = 60, RIGHT = 18, TOP = 8, BOTTOM = 22; // pixels around the lines
const HEIGHT = 170, SHORT = 84; // pixels of a chart
const MARK_ROOM = 62; // pixels that a mark of the time axis needs
const STEPS = [0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720]; // minutes between two marks

function svg(name, attributes, children = []) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

function html(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) say(made, text);
  return made;
}

// Scales: { marks, label, height }, where `height` is from 0 to 1.

// For counts and rates: powers of ten from `least` upwards, and 0 below them.
function countScale(least, label) {
  return (values) => {
    const bottom = Math.round(Math.log10(least));
    const largest = Math.max(least * 10, ...values);
    const top = Math.ceil(Math.log10(largest) - 1e-9);
    const steps = top - bottom + 1;
    const height = (value) => (value < least ? Math.max(0, value / least) : Math.log10(value) - bottom + 1) / steps;
    return { marks: [0, ...powers(bottom, top)], label, height };
  };
}

// For durations: the median and the slowest are often far apart.
function durationScale(values) {
  const positive = values.filter((value) => value > 0);
  const bottom = positive.length ? Math.floor(Math.log10(Math.min(...positive)) + 1e-9) : -5;
  const top = Math.max(bottom + 2, Math.ceil(Math.log10(Math.max(...positive, 1e-9)) - 1e-9));
  const height = (value) => (value > 0 ? (Math.log10(value) - bottom) / (top - bottom) : 0);
  return { marks: powers(bottom, top), label: duration, height };
}

function levelScale() {
  return { marks: [0, 1, 2], label: levelWord, height: (value) => value / 2 };
}

function powers(bottom, top) {
  return Array.from({ length: top - bottom + 1 }, (_, index) => Number(`1e${bottom + index}`));
}

// Returns the times of the marks between two times, at full minutes or hours of the zone.
function timeMarks(from, to, width) {
  const most = Math.max(2, Math.floor(width / MARK_ROOM));
  const step = 60 * (STEPS.find((minutes) => (to - from) / 60 / minutes <= most) || STEPS[STEPS.length - 1]);
  const zoneOffset = new Date(to * 1000).getTimezoneOffset() * 60;
  const marks = [];
  for (let time = Math.ceil((from - zoneOffset) / step) * step + zoneOffset; time <= to; time += step) marks.push(time);
  return marks;
}

function timeLabel(time) {
  if (time % 60 !== 0) return secondOf(time);
  const shown = minuteOf(time);
  return shown === '00:00' ? formatted(DAY, time) : shown;
}

// Groups.

// Makes the charts of a group. `shape` has the titles and lines of each; `gap` is the time between two rows, in
// seconds, from which on a line is broken; `range` returns the first and the last time of the axis.
function makeGroup(id, shapes, { gap, range, when }) {
  const group = { place: document.getElementById(id), gap, range, when, rows: [], cursor: null, width: 0 };
  group.charts = shapes.map((shape) => makeChart(group, shape));
  group.place.replaceChildren(...group.charts.map((chart) => chart.figure));
  group.place.hidden = true;
  // Drawn in the next frame: a change of the height within this one is an error of the observer.
  new ResizeObserver(() => requestAnimationFrame(() => fit(group))).observe(group.place);
  return group;
}

function fit(group) {
  if (group.place.clientWidth !== group.width) drawGroup(group);
}

function makeChart(group, shape) {
  const figure = html('figure', shape.wide ? 'wide' : '');
  const plot = html('div', 'plot'), legend = html('ul', 'legend'), when = html('p', 'when quiet');
  const title = html('h3', '', shape.title);
  title.append(' ', when);
  figure.append(title, plot, legend);
  Object.entries({ role: 'slider', tabindex: 0, 'aria-label': shape.title, 'aria-valuemin': 0 })
    .forEach(([name, value]) => plot.setAttribute(name, value));
  const chart = { ...shape, figure, plot, legend, when, shown: [], values: new Map(), x: null };
  followPointer(group, chart);
  followKeys(group, chart);
  return chart;
}

function followPointer(group, chart) {
  const follow = (event) => {
    if (!chart.x) return;
    const at = (event.clientX - chart.plot.getBoundingClientRect().left);
    pick(group, nearest(group.rows, chart.x.time(at)));
  };
  chart.plot.addEventListener('pointermove', follow);
  chart.plot.addEventListener('pointerdown', follow);
  // A finger that is lifted leaves the values for reading; the next touch elsewhere takes them away.
  chart.plot.addEventListener('pointerleave', (event) => event.pointerType === 'mouse' && pick(group, null));
}

function followKeys(group, chart) {
  const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -60, PageUp: 60,
    Home: -Infinity, End: Infinity };
  chart.plot.addEventListener('keydown', (event) => {
    if (event.key === 'Escape') pick(group, null);
    if (!(event.key in steps) || event.ctrlKey || event.altKey || event.metaKey || !group.rows.length) return;
    event.preventDefault();
    const last = group.rows.length - 1;
    const from = group.cursor === null ? last : nearest(group.rows, group.cursor);
    pick(group, Math.min(last, Math.max(0, from + steps[event.key])));
  });
  chart.plot.addEventListener('focus', () => {
    if (group.cursor === null && chart.plot.matches(':focus-visible')) pick(group, group.rows.length - 1);
  });
  chart.plot.addEventListener('blur', () => pick(group, null));
}

// Shows the values of the row at this index; those of the last one if it is null.
function pick(group, index) {
  group.cursor = index === null || index < 0 ? null : group.rows[index].time;
  showValues(group);
}

function nearest(rows, time) {
  let best = rows.length - 1;
  while (best > 0 && Math.abs(rows[best - 1].time - time) <= Math.abs(rows[best].time - time)) best -= 1;
  return best;
}

function setRows(group, rows) {
  group.rows = rows;
  group.place.hidden = rows.length === 0;
  if (group.cursor !== null && !rows.some((row) => row.time === group.cursor)) group.cursor = null;
  drawGroup(group);
}

function drawGroup(group) {
  group.width = group.place.clientWidth;
  if (!group.rows.length || !group.width) return;
  group.charts.forEach((chart) => drawChart(group, chart));
  showValues(group);
}

// One chart.

function drawChart(group, chart) {
  const width = Math.max(200, chart.plot.clientWidth), height = chart.short ? SHORT : HEIGHT;
  const present = chart.lines.filter((line) => line.always || group.rows.some((row) => line.of(row) > 0));
  const drawn = present.filter((line) => !line.text);
  const values = drawn.flatMap((line) => group.rows.map(line.of).filter(known));
  const scale = chart.scale(values);
  const x = timeAxis(group, width), y = (value) => height - BOTTOM - (height - BOTTOM - TOP) * scale.height(value);
  const cursor = svg('line', { class: 'cursor', y1: TOP, y2: height - BOTTOM });
  chart.plot.replaceChildren(svg('svg', { viewBox: `0 0 ${width} ${height}`, 'aria-hidden': 'true' }, [
    ...valueGrid(scale, y, width), ...timeGrid(x, width, height), ...(chart.bands ? bands(group, x.place, y) : []),
    ...drawn.flatMap((line) => path(group, line, x.place, y)), cursor,
  ]));
  Object.assign(chart, { x, cursor });
  drawLegend(chart, present);
}

function timeAxis(group, width) {
  const [from, to] = group.range(group.rows), room = width - LEFT - RIGHT;
  return {
    from, to,
    place: (time) => LEFT + room * (time - from) / (to - from),
    time: (place) => from + (place - LEFT) / room * (to - from),
  };
}

function valueGrid(scale, y, width) {
  return scale.marks.flatMap((mark) => [
    svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark) }),
    svg('text', { x: LEFT - 6, y: y(mark) + 4, 'text-anchor': 'end' }, [scale.label(mark)]),
  ]);
}

function timeGrid(x, width, height) {
  return timeMarks(x.from, x.to, width - LEFT - RIGHT).flatMap((time) => [
    svg('line', { class: 'grid', x1: x.place(time), x2: x.place(time), y1: TOP, y2: height - BOTTOM }),
    // The last one stays within the picture.
    svg('text', { x: Math.min(x.place(time), width - 28), y: height - 5, 'text-anchor': 'middle' }, [timeLabel(time)]),
  ]);
}

// A minute of trouble is less than a pixel of a day: a band has a width that is seen.
function bands(group, x, y) {
  return troubles(group.rows).map(({ level, from, to }) => svg('rect', {
    class: `band ${levelWord(level)}`, x: x(from) - 1.5, width: Math.max(3, x(to - 60) - x(from) + 1.5),
    y: y(level), height: Math.max(0, y(0) - y(level)),
  }));
}

// A line has a gap where nothing was measured. A value between two gaps is a dot.
function path(group, line, x, y) {
  const runs = [];
  let before = null;
  for (const row of group.rows) {
    const value = line.of(row);
    if (known(value)) {
      if (!before || row.time - before.time > group.gap) runs.push([]);
      const run = runs[runs.length - 1];
      if (line.steps && run.length) run.push([x(row.time), y(line.of(before))]);
      run.push([x(row.time), y(value)]);
    }
    before = known(value) ? row : null;
  }
  return runs.map((run) => drawnRun(run.map((point) => point.map((place) => place.toFixed(1))), line.color));
}

function drawnRun(run, color) {
  if (run.length === 1) return svg('circle', { class: `dot c${color}`, cx: run[0][0], cy: run[0][1], r: 2.5 });
  return svg('polyline', { class: `line c${color}`, points: run.map((point) => point.join()).join(' ') });
}

function drawLegend(chart, lines) {
  if (chart.shown.length === lines.length && chart.shown.every((line, index) => line === lines[index])) return;
  chart.shown = lines;
  chart.values = new Map(lines.map((line) => [line, html('b')]));
  chart.legend.replaceChildren(...lines.map((line) => {
    const item = html('li');
    if (!line.text) item.append(svg('svg', { viewBox: '0 0 24 12', 'aria-hidden': 'true' },
      [svg('line', { class: `line c${line.color}`, x1: 0, x2: 24, y1: 6, y2: 6 })]));
    item.append(html('span', '', line.name), ' ', chart.values.get(line));
    return item;
  }));
}

// Writes the values of the row under the cursor, or of the last one, beside the names of the lines.
function showValues(group) {
  if (!group.rows.length) return;
  const index = group.cursor === null ? group.rows.length - 1 : nearest(group.rows, group.cursor);
  const row = group.rows[index], when = group.when(row, group.cursor === null);
  for (const chart of group.charts.filter((one) => one.x)) {
    const shown = (line) => (line.format || chart.format)(line.of(row));
    say(chart.when, when);
    chart.shown.forEach((line) => say(chart.values.get(line), shown(line)));
    chart.cursor.setAttribute('visibility', group.cursor === null ? 'hidden' : 'visible');
    ['x1', 'x2'].forEach((end) => chart.cursor.setAttribute(end, chart.x.place(row.time)));
    const spoken = chart.shown.filter((line) => shown(line) !== NOTHING).map((line) => `${line.name} ${shown(line)}`);
    chart.plot.setAttribute('aria-valuemax', group.rows.length - 1);
    chart.plot.setAttribute('aria-valuenow', index);
    chart.plot.setAttribute('aria-valuetext', `${when}: ${spoken.join(', ') || 'nothing measured'}`);
  }
}
