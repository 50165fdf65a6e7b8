'use strict';

// Which charts there are: the history by the minute, and the last minutes.

const LEVELS = ['ok', 'warning', 'failed'];

function levelWord(level) {
  return LEVELS[level] || NOTHING;
}

// Returns a line of a field of the rows. `more`: `always` draws it without a value above 0, `text` only says it.
function line(name, color, field, more = {}) {
  return { name, color, of: typeof field === 'string' ? (row) => row[field] : field, ...more };
}

const HISTORY_CHARTS = [
  { title: 'State of the server', wide: true, short: true, bands: true, scale: levelScale, format: levelWord,
    lines: [line('state', 5, 'level', { always: true, steps: true })] },
  { title: 'Requests a minute', wide: true, scale: countScale(1, shortCount), format: count, lines: [
    line('answered', 0, 'answered', { always: true }), line('refused', 1, 'refused', { always: true }),
    line('failed', 4, 'failed', { always: true }), line('lost', 3, 'lost', { always: true }),
  ] },
  { title: 'Time to answer', scale: durationScale, format: duration, lines: [
    line('median', 0, 'median', { always: true }), line('99 % within', 1, 'slowest', { always: true }),
  ] },
  { title: 'Asked and counted a minute', scale: countScale(1, shortCount), format: count, lines: [
    line('checks', 0, 'checks', { always: true }), line('checks that found a report', 2, 'hits'),
    line('reports', 1, 'reports', { always: true }), line('whitelistings', 3, 'whitelists'),
    line('new records', 6, 'newRecords'),
    line('hit rate', 0, (row) => (row.checks > 0 ? row.hits / row.checks : null), { text: true, format: percent }),
  ] },
];

const LIVE_CHARTS = [
  { title: 'Requests per second', scale: countScale(0.1, shortCount), format: rate, lines: [
    line('answered', 0, 'answered', { always: true }), line('refused', 1, 'refused', { always: true }),
    line('failed', 4, 'failed', { always: true }), line('lost', 3, 'lost', { always: true }),
    line('kept out by limits', 6, 'keptOut'),
  ] },
  { title: 'Operations per second', scale: countScale(0.1, shortCount), format: rate,
    lines: OPERATIONS.map((operation, color) => line(operation, color, operation, { always: color < 2 })) },
  { title: 'Time to answer', scale: durationScale, format: duration, lines: [
    line('median', 0, 'median', { always: true }), line('99 % within', 1, 'slowest', { always: true }),
    line('99 % within, refused or failed', 4, 'slowestFailed'),
  ] },
  { title: 'Time the database takes', scale: durationScale, format: duration, lines: [
    line('median', 0, 'medianStore', { always: true }), line('99 % within', 1, 'slowestStore', { always: true }),
  ] },
];

// Returns a mark of an axis: 0.1, 1,000, 10 M.
function shortCount(value) {
  if (value >= 1e6) return `${value / 1e6} M`;
  return value < 1 ? String(value) : count(value);
}

// The axis begins with the oldest row, and ten minutes ago at the latest.
function historyRange(rows) {
  const to = rows[rows.length - 1].time;
  return [Math.max(to - 86400, Math.min(rows[0].time, to - 600)), to];
}

function liveRange(rows) {
  const to = rows[rows.length - 1].time;
  return [Math.max(to - LIVE, Math.min(rows[0].time, to - 60)), to];
}

function makeHistory() {
  return makeGroup('history', HISTORY_CHARTS, { gap: 90, range: historyRange,
    when: (row) => `in the minute of ${moment(row.time, serverTime(), MINUTES)}` });
}

function makeLive() {
  return makeGroup('live', LIVE_CHARTS, { gap: 90, range: liveRange,
    when: (row, newest) => (newest ? 'now' : `at ${secondOf(row.time)}`) });
}

// Says in words what the chart of states shows.
function historySentence(rows, now) {
  if (!rows.length) return 'The first minute is not over yet.';
  const found = troubles(rows);
  const said = [2, 1].map((level) => found.filter((trouble) => trouble.level === level)).filter((runs) => runs.length);
  const words = said.map((runs) => troubleWords(runs, now)).join('; ') || 'no minute with a warning or a failure';
  return `Since ${moment(rows[0].time, now, MINUTES)}: ${words}.${gapWords(rows)}`;
}

function gapWords(rows) {
  const missing = Math.round((rows[rows.length - 1].time - rows[0].time) / 60) + 1 - rows.length;
  return missing > 0 ? ` No figures of ${minutesWord(missing)}: the machine slept.` : '';
}

function minutesWord(minutes) {
  return `${minutes} ${minutes === 1 ? 'minute' : 'minutes'}`;
}

function troubleWords(runs, now) {
  const minutes = runs.reduce((sum, run) => sum + Math.round((run.to - run.from) / 60), 0);
  const last = runs[runs.length - 1];
  const during = last.to - last.from > 60
    ? `from ${moment(last.from, now, MINUTES)} to ${moment(last.to, now, MINUTES)}`
    : `at ${moment(last.from, now, MINUTES)}`;
  return `${levelWord(last.level)} in ${minutesWord(minutes)}, ${runs.length > 1 ? 'last ' : ''}${during}`;
}
