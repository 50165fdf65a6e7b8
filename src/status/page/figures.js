'use strict';

// Figures of the server: what one document says, what changed between two, and rows over time.

const WINDOW = 10; // seconds that rates and percentiles at the top cover
const LIVE = 300; // seconds of the live charts
const MOST_POINTS = 400; // points of the live charts
const MOST_ROWS = 1440; // rows of the history
const OPERATIONS = ['check', 'report', 'ping', 'pong', 'info', 'whitelist', 'other'];

// The fields of a row of /history.json, in their order.
const FIELDS = ['time', 'received', 'answered', 'failed', 'refused', 'lost', 'checks', 'hits', 'reports', 'whitelists',
  'newRecords', 'median', 'slowest', 'level'];

// Counts of one document. The result is null if the server does not tell.

function replies(status, wanted) {
  return status.requests.filter(wanted).reduce((sum, row) => sum + row.count, 0);
}

function allReplies(status) {
  return replies(status, () => true);
}

function failed(status) {
  return replies(status, (row) => row.code === 500);
}

function refused(status) {
  return replies(status, (row) => row.code !== 200 && row.code !== 500);
}

// Datagrams that a client may have waited for in vain: the machine or the server was too busy.
function lost(status) {
  const { overloaded = 0, stale = 0 } = status.dropped;
  return (status.kernel_drops || 0) + overloaded + stale + status.replies_dropped + status.send_errors;
}

// Datagrams that a limit or a list of networks keeps out.
function keptOut(status) {
  const { denied_network: denied = 0, over_limit: over = 0 } = status.dropped;
  return denied + over;
}

// Changes from one document to another.

function increase(before, after, value) {
  const [from, to] = [value(before), value(after)];
  return known(from) && known(to) ? Math.max(0, to - from) : null;
}

function perSecond(before, after, value) {
  const elapsed = after.uptime - before.uptime;
  const more = elapsed > 0 ? increase(before, after, value) : null;
  return more === null ? null : more / elapsed;
}

// Returns the share of `part` in `whole`, among what came between two documents; null if nothing came.
function share(before, after, part, whole) {
  const [some, all] = [increase(before, after, part), increase(before, after, whole)];
  return known(some) && all > 0 ? some / all : null;
}

// Returns the value that this share of the events between two documents does not exceed; null without events.
function percentile(before, after, wanted) {
  if (!before || !after) return null;
  const old = new Map(before.buckets);
  const fresh = after.buckets.map(([end, count]) => [end, count - (old.get(end) || 0)]);
  const all = fresh.reduce((sum, [, count]) => sum + count, 0);
  let left = Math.max(1, Math.ceil(all * wanted));
  for (const [end, count] of fresh) {
    left -= count;
    if (all > 0 && left <= 0) return end;
  }
  return null;
}

// The documents of the last seconds, oldest first. The first is at least WINDOW seconds old, if there are so many.

const recent = [];

// Adds a document. Returns whether it is of another process, whose counters have begun anew.
function remember(status) {
  const last = recent[recent.length - 1];
  const restarted = Boolean(last) && (status.started !== last.started || status.uptime < last.uptime);
  if (restarted) recent.length = 0;
  recent.push(status);
  while (recent.length > 2 && status.uptime - recent[1].uptime >= WINDOW) recent.shift();
  return restarted;
}

// Points of the live charts, oldest first: figures instead of documents, which are large.

const points = [];

function point(start, before, status) {
  const row = { time: status.time };
  const between = { answered: allReplies, failed, refused, lost, keptOut };
  for (const [name, value] of Object.entries(between)) row[name] = before && perSecond(before, status, value);
  for (const operation of OPERATIONS) {
    row[operation] = before && perSecond(before, status, (of) => replies(of, (one) => one.operation === operation));
  }
  const times = { median: ['latency', 0.5], slowest: ['latency', 0.99], slowestFailed: ['latency_failed', 0.99],
    medianStore: ['store', 0.5], slowestStore: ['store', 0.99] };
  for (const [name, [of, wanted]] of Object.entries(times)) {
    row[name] = before ? percentile(start[of], status[of], wanted) : null;
  }
  return row;
}

function addPoint(status) {
  const before = recent.length > 1 ? recent[recent.length - 2] : null;
  // A clock that was set back leaves points of the future.
  while (points.length && points[points.length - 1].time >= status.time) points.pop();
  points.push(point(recent[0], before, status));
  while (points.length > MOST_POINTS || points[0].time < status.time - LIVE) points.shift();
}

// Returns rows of the history as objects, oldest first.
function historyRows(history) {
  const rows = history.rows.map((row) => Object.fromEntries(FIELDS.map((name, index) => [name, row[index]])));
  return rows.filter((row) => known(row.time)).sort((one, other) => one.time - other.time).slice(-MOST_ROWS);
}

// Returns runs of minutes that are not ok, oldest first: { level, from, to }, `to` not included.
function troubles(rows) {
  const found = [];
  for (const { time, level } of rows) {
    const last = found[found.length - 1];
    if (last && last.level === level && last.to === time) last.to = time + 60;
    else if (level > 0) found.push({ level, from: time, to: time + 60 });
  }
  return found;
}
