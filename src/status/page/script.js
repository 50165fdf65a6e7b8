'use strict';

// Fetches /status.json every second, keeps the samples of five minutes, and draws them.

const PERIOD = 1000; // milliseconds between two samples
const TIMEOUT = 5000; // milliseconds until a request for a sample fails
const HISTORY = 300; // number of samples that are kept
const WINDOW = 10; // seconds that percentiles cover
const OPERATIONS = ['check', 'report', 'ping', 'pong', 'info', 'whitelist', 'other'];
const RECORDS = { gdbm: 'in the file', mysql: 'estimated by the database' }; // what the number counts
const HEIGHT = 176, LEFT = 64, BOTTOM = 24, TOP = 10, RIGHT = 8; // pixels of a chart

const samples = [];
let lostSince = null;
let fetching = false;

const byId = (id) => document.getElementById(id);

// Numbers as text.

function count(value) {
  return Math.round(value).toLocaleString('en');
}

function rate(value) {
  if (value === 0) return '0/s';
  return (value < 10 ? value.toFixed(1) : count(value)) + '/s';
}

function duration(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds === 0) return '0 s';
  for (const [unit, size] of [['s', 1], ['ms', 1e-3], ['µs', 1e-6]]) {
    if (seconds >= size * 0.9995) return Number((seconds / size).toPrecision(3)) + ' ' + unit;
  }
  return Math.round(seconds * 1e9) + ' ns';
}

function age(seconds) {
  const [days, hours, minutes] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
  const parts = [[days, 'd'], [hours, 'h'], [minutes, 'min'], [Math.floor(seconds % 60), 's']];
  const first = parts.findIndex(([value]) => value > 0);
  const shown = parts.slice(first, first + 2).filter(([value]) => value > 0);
  return first < 0 ? '0 s' : shown.map(([value, unit]) => `${value} ${unit}`).join(' ');
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString();
}

// Changes from one sample to another.

function total(status, wanted) {
  return status.requests.filter(wanted).reduce((sum, row) => sum + row.count, 0);
}

function dropped(status) {
  return Object.values(status.dropped).reduce((sum, count) => sum + count, 0);
}

function perSecond(before, after, value) {
  const elapsed = after.uptime - before.uptime;
  return elapsed > 0 ? Math.max(0, value(after) - value(before)) / elapsed : 0;
}

// Returns the value that this share of the events between two samples does not exceed; null without events.
function percentile(before, after, share) {
  const old = new Map(before.buckets);
  const fresh = after.buckets.map(([end, count]) => [end, count - (old.get(end) || 0)]);
  const all = fresh.reduce((sum, [, count]) => sum + count, 0);
  let left = Math.max(1, Math.ceil(all * share));
  for (const [end, count] of fresh) {
    left -= count;
    if (all > 0 && left <= 0) return end;
  }
  return null;
}

// Returns the sample that is about WINDOW seconds older than the sample at this index.
function windowStart(index) {
  let start = index;
  while (start > 0 && samples[index].uptime - samples[start].uptime < WINDOW) start -= 1;
  return samples[start];
}

// Charts: values over time, drawn again for each sample.

function element(name, attributes, children = []) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  Object.entries(attributes).forEach(([key, value]) => made.setAttribute(key, value));
  made.append(...children);
  return made;
}

function html(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

// Scales: the values of the grid lines, and the height of a value from 0 to 1.

function linear(values, least) {
  const largest = Math.max(least, ...values);
  const size = 10 ** Math.floor(Math.log10(largest));
  const top = size * [1, 2, 3, 4, 5, 6, 8, 10].find((step) => step * size >= largest * 0.9999);
  return { marks: [0, top / 2, top], height: (value) => value / top };
}

// The median and the 99th percentile are often far apart.
function logarithmic(values, least) {
  const positive = values.filter((value) => value > 0);
  const bottom = Math.floor(Math.log10(Math.min(...positive, least * 10)) + 1e-9);
  const top = Math.max(bottom + 2, Math.ceil(Math.log10(Math.max(...positive, least * 10)) - 1e-9));
  const marks = Array.from({ length: top - bottom + 1 }, (_, index) => 10 ** (bottom + index));
  return { marks, height: (value) => Math.max(0, (Math.log10(value) - bottom) / (top - bottom)) };
}

function draw(id, title, series, format, scale, least) {
  const place = byId(id), width = Math.max(240, place.clientWidth);
  const present = series.filter((line) => line.always || line.values.some((value) => value > 0));
  const newest = samples[samples.length - 1].uptime, oldest = Math.min(samples[0].uptime, newest - 60);
  const { marks, height } = scale(present.flatMap((line) => line.values.map((value) => value || 0)), least);
  const x = (time) => LEFT + (width - LEFT - RIGHT) * (time - oldest) / (newest - oldest);
  const y = (value) => HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * height(value);
  const grid = marks.flatMap((mark) => [
    element('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: y(mark), y2: y(mark) }),
    element('text', { x: LEFT - 6, y: y(mark) + 4, 'text-anchor': 'end' }, [format(mark)]),
  ]);
  const span = element('text', { x: LEFT, y: HEIGHT - 5 }, [age(newest - oldest) + ' ago']);
  const now = element('text', { x: width - RIGHT, y: HEIGHT - 5, 'text-anchor': 'end' }, ['now']);
  const lines = present.flatMap((line) => path(line, x, y));
  const latest = (line) => line.values[line.values.length - 1];
  const shown = (line) => (latest(line) === null ? 'none' : format(latest(line)));
  const said = present.map((line) => `${line.name} ${shown(line)}`).join(', ') || 'nothing yet';
  const picture = element('svg', {
    viewBox: `0 0 ${width} ${HEIGHT}`, role: 'img', 'aria-label': `${title}: now ${said}`,
  }, [...grid, span, now, ...lines]);
  place.replaceChildren(picture, legend(present, shown));
}

// A line has a gap where there was nothing to measure; a single value between two gaps is a dot.
function path(line, x, y) {
  const runs = [];
  line.values.forEach((value, index) => {
    if (value === null) return;
    const follows = index > 0 && line.values[index - 1] !== null && runs.length > 0;
    if (!follows) runs.push([]);
    runs[runs.length - 1].push([x(samples[index].uptime), y(value)].map((place) => place.toFixed(1)));
  });
  return runs.map((run) => (run.length === 1
    ? element('circle', { class: `dot c${line.color}`, cx: run[0][0], cy: run[0][1], r: 2 })
    : element('polyline', { class: `line c${line.color}`, points: run.map((point) => point.join()).join(' ') })));
}

function legend(lines, shown) {
  const list = html('ul', undefined, 'legend');
  if (!lines.length) list.append(html('li', 'None so far.'));
  for (const line of lines) {
    const item = html('li');
    const sample = element('svg', { viewBox: '0 0 24 12', 'aria-hidden': 'true' },
      [element('line', { class: `line c${line.color}`, x1: 0, x2: 24, y1: 6, y2: 6, 'stroke-width': 2 })]);
    item.append(sample, line.name + ' ', html('b', shown(line)));
    list.append(item);
  }
  return list;
}

function overTime(value) {
  return samples.map((sample, index) => (index === 0 ? null : value(samples[index - 1], sample, index)));
}

function rates(value) {
  return overTime((before, after) => perSecond(before, after, value));
}

function percentiles(of) {
  return [[0.5, 'half within'], [0.9, '90% within'], [0.99, '99% within']].map(([share, name], color) => ({
    name, color, always: true,
    values: overTime((_, after, index) => percentile(windowStart(index)[of], after[of], share)),
  }));
}

function drawCharts() {
  draw('chart-requests', 'Requests per second', OPERATIONS.map((operation, color) => ({
    name: operation, color, values: rates((sample) => total(sample, (row) => row.operation === operation)),
  })), rate, linear, 1);
  draw('chart-latency', 'Latency of requests', percentiles('latency'), duration, logarithmic, 1e-5);
  draw('chart-store', 'Time that the store takes', percentiles('store'), duration, logarithmic, 1e-6);
  draw('chart-errors', 'Per second', [
    { name: 'refused (4xx)', color: 1, values: rates((sample) => total(sample, (row) => row.code >= 400 && row.code < 500)) },
    { name: 'failed (5xx)', color: 4, values: rates((sample) => total(sample, (row) => row.code >= 500)) },
    { name: 'dropped', color: 3, values: rates(dropped) },
    { name: 'store errors', color: 6, values: rates((sample) => sample.store_unavailable + sample.store_unreadable) },
    { name: 'not sent', color: 5, values: rates((sample) => sample.send_errors + sample.replies_dropped) },
  ], rate, linear, 1);
  const mean = (before, after) => {
    const batches = after.batches.count - before.batches.count;
    return batches > 0 ? (after.batches.sum - before.batches.sum) / batches : null;
  };
  const size = (value) => (value === null ? '–' : String(Number(value.toPrecision(3))));
  draw('chart-batches', 'Datagrams received together', [
    { name: 'mean', color: 0, always: true, values: overTime(mean) },
    { name: '99% have at most', color: 1, always: true,
      values: overTime((_, after, index) => percentile(windowStart(index).batches, after.batches, 0.99)) },
  ], size, linear, 2);
}

// Tables.

function fill(id, heads, rows, empty) {
  const head = html('tr'), body = html('tbody');
  heads.forEach((name, column) => {
    const cell = html('th', name, column > 0 && typeof (rows[0] || [])[column] !== 'string' ? 'number' : undefined);
    cell.scope = 'col';
    head.append(cell);
  });
  for (const row of rows) {
    const line = html('tr');
    row.forEach((value, column) => {
      const cell = html(column ? 'td' : 'th', typeof value === 'number' ? count(value) : value && value.text || value,
        typeof value === 'string' ? undefined : 'number');
      if (!column) cell.scope = 'row';
      line.append(cell);
    });
    body.append(line);
  }
  if (!rows.length) {
    const cell = html('td', empty);
    cell.colSpan = heads.length;
    body.append(html('tr'));
    body.lastChild.append(cell);
  }
  const top = html('thead');
  top.append(head);
  byId(id).replaceChildren(top, body);
}

function drawTables(status, before) {
  const codes = [...new Set(status.requests.map((row) => row.code))].sort();
  const seen = OPERATIONS.filter((operation) => status.requests.some((row) => row.operation === operation));
  fill('codes', ['operation', ...codes.map(String)],
    seen.map((operation) => [operation, ...codes.map((code) =>
      total(status, (row) => row.operation === operation && row.code === code))]),
    'No request so far.');
  const known = new Map((before ? before.talkers : []).map((row) => [row.network, row.datagrams]));
  fill('talkers', ['network', 'datagrams', 'per second'], status.talkers.map((row) => {
    const old = known.get(row.network);
    const now = old === undefined ? '–' : rate(perSecond(before, status, (sample) => (sample === before ? old : row.datagrams)));
    const most = count(row.datagrams);
    const datagrams = row.excess ? `${count(row.datagrams - row.excess)} to ${most}` : most;
    return [row.network, { text: datagrams }, { text: now }];
  }), 'None so far.');
  const reasons = {
    not_a_request: 'dropped: not a request', source_port_zero: 'dropped: from port 0',
    denied_network: 'dropped: network not served', over_limit: 'dropped: over a limit',
    in_flight: 'dropped: copy of a request that is being answered',
    overloaded: 'dropped: too many others waited',
    stale: 'dropped: too old, its client is gone',
  };
  const faults = [
    ...Object.entries(status.dropped).map(([reason, count]) => [reasons[reason] || reason, count]),
    ['receive errors', status.receive_errors], ['replies not sent', status.send_errors],
    ['replies dropped: the send buffer is full', status.replies_dropped],
    ['store: no answer to a call', status.store_unavailable], ['store: unreadable record', status.store_unreadable],
    ['store: no place for a digest', status.store_no_place],
    ['refused: the queue of the store is full', status.overloaded], ['internal errors', status.internal_errors],
  ];
  // A row only for a fault that has occurred: rows of zeros would hide the others.
  fill('faults', ['what', 'since the start'], faults.filter(([, count]) => count > 0), 'None so far.');
  const never = faults.filter(([, count]) => count === 0).map(([what]) => what).join('; ');
  byId('no-faults').textContent = never && `None of: ${never}.`;
}

function drawSettings(status) {
  fill('settings', ['setting', 'value', 'from'],
    status.settings.map((row) => [row.name, row.value || '(empty)', row.source]), 'None.');
}

// Head, tiles, and the loop.

function drawTiles(status, start) {
  const same = start === status;
  const requests = (sample) => total(sample, () => true);
  const tile = (id, value, rest) => {
    byId(`tile-${id}`).textContent = value;
    byId(`tile-${id}-total`).textContent = rest;
  };
  tile('requests', same ? '–' : rate(perSecond(start, status, requests)), count(requests(status)) + ' since start');
  for (const of of ['latency', 'store']) {
    tile(of, same ? '–' : duration(percentile(start[of], status[of], 0.99)), `${duration(status[of].p99)} since start`);
  }
  tile('dropped', same ? '–' : rate(perSecond(start, status, dropped)), count(dropped(status)) + ' since start');
  const unknown = status.records === null;
  tile('records', unknown ? '–' : count(status.records), unknown ? 'not known cheaply' : (RECORDS[status.engine] || 'in the database'));
}

function badge(text, kind) {
  const place = byId('health');
  // A screen reader announces each change of the text.
  if (place.textContent !== text) place.textContent = text;
  place.className = `badge ${kind}`;
}

function drawHead(status) {
  badge(status.healthy ? 'serving' : `not serving: ${status.trouble}`, status.healthy ? 'good' : 'bad');
  byId('server').textContent = `${status.version}, ${status.engine} engine, ${status.runtime} runtime, `
    + `${status.workers} ${status.workers === 1 ? 'worker' : 'workers'}, on ${status.listen}, up ${age(status.uptime)}`;
}

function receive(status) {
  const last = samples[samples.length - 1];
  // Another process answers: the samples of the previous one have no meaning for its counters.
  const restarted = last && (status.started !== last.started || status.uptime < last.uptime);
  if (restarted) samples.length = 0;
  if (!last || restarted) drawSettings(status);
  samples.push(status);
  if (samples.length > HISTORY) samples.shift();
  lostSince = null;
  byId('lost').hidden = true;
  drawHead(status);
  drawTiles(status, windowStart(samples.length - 1));
  drawCharts();
  drawTables(status, samples[samples.length - 2]);
}

function reportLoss() {
  lostSince = lostSince || Date.now() / 1000;
  badge('no answer', 'bad');
  const text = `The server has not answered since ${clock(lostSince)}. This page tries again every second; its figures are old.`;
  const place = byId('lost');
  if (place.textContent !== text) place.textContent = text;
  place.hidden = false;
}

async function fetchStatus() {
  const reply = await fetch('/status.json', { signal: AbortSignal.timeout(TIMEOUT), cache: 'no-store' });
  return reply.ok ? reply.json() : null;
}

async function update() {
  setTimeout(update, PERIOD);
  if (fetching) return;
  fetching = true;
  const status = await fetchStatus().catch(() => null);
  fetching = false;
  if (status) receive(status);
  else reportLoss();
}

update();
