'use strict';

// Fetches the documents and shows them, for as long as the page is open.

const PERIOD = 2000, HIDDEN_PERIOD = 30000; // milliseconds between two documents, in sight and out of it
const TIMEOUT = 5000; // milliseconds until a request fails
const MINUTE = 60, ROW_LATE = 3; // seconds of a row of the history, and until the server has written it
const LEAST_LIFE = 60000; // milliseconds until the page loads itself anew
const CLOCK_DIFFERENCE = 5; // seconds from which on a difference of the clocks is told

const historyCharts = makeHistory(), liveCharts = makeLive();
let shown = null; // the document that is shown
let shownAt = 0; // when it came, by the browser's own count of milliseconds
let historyMinute = null; // the minute in which the history was fetched last, by the server's clock
let lostAt = null; // since when the server has not answered, by its clock
let timer = null;
let running = false;

// Returns the time on the server: browsers' clocks differ.
function serverTime() {
  return shown ? shown.time + (performance.now() - shownAt) / 1000 : Date.now() / 1000;
}

async function fetchJson(path) {
  const reply = await fetch(path, { signal: AbortSignal.timeout(TIMEOUT), cache: 'no-store' });
  if (!reply.ok) throw new Error(`the answer is ${reply.status}`);
  return { body: await reply.json(), date: Date.parse(reply.headers.get('date')) / 1000 };
}

async function fetchStatus() {
  const { body, date } = await fetchJson('status.json');
  // A machine that slept counts no uptime, so the start and the uptime are the last resort.
  const time = [body.time, date, body.started + body.uptime].find(known);
  return { ...body, time };
}

function show(status) {
  if (upgraded(status)) return location.reload();
  const restarted = remember(status);
  addPoint(status);
  if (restarted || lostAt !== null) historyMinute = null;
  [shown, shownAt, lostAt] = [status, performance.now(), null];
  byId('figures').hidden = false;
  byId('figures').classList.remove('old');
  showVerdict(verdictOf(status), status.time);
  showFindings(status.findings, status.time);
  showServer(status);
  showTiles(tilesOf(status));
  showTables(status, recent[0] === status ? null : recent[0]);
  showClock(status.time);
  setRows(liveCharts, points);
}

// Whether the server has another page. Two servers behind one address must not make it load itself all the time.
function upgraded(status) {
  return shown !== null && status.version !== shown.version && performance.now() > LEAST_LIFE;
}

function showClock(time) {
  const difference = Date.now() / 1000 - time;
  const words = Math.abs(difference) < CLOCK_DIFFERENCE ? ''
    : ` This browser's clock is ${age(Math.abs(difference))} ${difference < 0 ? 'behind' : 'ahead of'} it.`;
  const clock = `All times are of the server's clock, ${secondOf(time)} now`;
  say(byId('clock'), `${clock}, in the time zone of this browser, ${zone()}.${words}`);
}

function showLoss(cause) {
  lostAt = lostAt ?? serverTime();
  byId('figures').classList.add('old');
  const old = shown ? ` The figures below are those of ${secondOf(shown.time)}.` : '';
  showVerdict({
    level: 'silent', since: lostAt,
    sentence: `The server does not answer this page: ${cause}.${old} The page goes on asking.`,
    remedy: 'run `pyzorctl status` on its machine; if pyzord is not running, its log says why it ended',
  }, serverTime());
  showFindings([], 0);
}

async function updateHistory(now) {
  // A clock that was set back is another minute, too.
  const minute = Math.floor((now - ROW_LATE) / MINUTE);
  if (minute === historyMinute) return;
  historyMinute = minute;
  let history = null;
  try {
    history = await fetchJson('history.json');
  } catch (error) {
    return say(byId('history-said'), `No history: ${causeOf(error)}.`);
  }
  const rows = historyRows(history.body);
  say(byId('history-said'), historySentence(rows, now));
  setRows(historyCharts, rows);
}

// Tells of a fault of this page: old figures must not be taken for new ones.
function showFault(error) {
  console.error(error);
  const words = `This page has a fault and may show old figures: ${error}.`;
  sayOrHide(byId('fault'), `${words} On the server, pyzorctl status tells more.`);
}

function causeOf(error) {
  if (error.name === 'TimeoutError') return `no answer within ${TIMEOUT / 1000} s`;
  return error instanceof TypeError ? 'the connection fails' : error.message;
}

async function update() {
  let status = null;
  try {
    status = await fetchStatus();
  } catch (error) {
    return showLoss(causeOf(error));
  }
  show(status);
  await updateHistory(status.time);
  sayOrHide(byId('fault'), '');
}

// One update at a time, and one timer.
async function loop() {
  if (running) return;
  running = true;
  clearTimeout(timer);
  await Promise.resolve().then(update).catch(showFault);
  running = false;
  timer = setTimeout(loop, document.hidden ? HIDDEN_PERIOD : PERIOD);
}

window.addEventListener('error', (event) => showFault(event.error || event.message));
document.addEventListener('visibilitychange', () => document.hidden || loop());
loop();
