'use strict';

// The top of the page: the verdict, and a tile for each figure that is looked at first.

const TITLES = { ok: 'OK', warning: 'Warning', failed: 'Failed', silent: 'No answer' };
const SIGNS = { ok: '✓', warning: '▲', failed: '✕', silent: '✕' };
const FEW_BYTES = 2 ** 30, FEW_SHARE = 0.05; // below both, a disk is nearly full
const SLOW = 0.25; // seconds
const MANY_FAILED = 0.05; // share of the replies
const MANY_LOST = 20; // datagrams in ten seconds: fewer are lost on every machine

const byId = (id) => document.getElementById(id);

// Returns the verdict of a document; of an older server, from its health.
function verdictOf(status) {
  if (status.verdict) return status.verdict;
  if (status.healthy) return { level: 'ok', sentence: 'the server answers requests', remedy: null, since: null };
  return { level: 'failed', sentence: `not serving: ${status.trouble}`, remedy: null, since: status.trouble_since };
}

function showVerdict({ level, sentence, remedy, since }, now) {
  const shown = wordFor(TITLES, level, null) ? level : 'failed';
  const place = byId('verdict');
  place.className = `verdict ${shown}`;
  place.hidden = false;
  say(byId('level'), `${SIGNS[shown]} ${TITLES[shown]}`);
  say(byId('sentence'), wholeSentence(sentence));
  sayOrHide(byId('since'), shown === 'ok' ? '' : sinceWords(since, now));
  sayCommands(byId('remedy'), remedy ? `What to do: ${wholeSentence(remedy, false)}` : '');
  say(document.querySelector('title'), `${TITLES[shown]}: pyzord on ${location.host}`);
}

// The log, systemd and the metrics have the same words in the middle of a line.
function wholeSentence(text, first = true) {
  const words = String(text);
  return (first ? words.charAt(0).toUpperCase() + words.slice(1) : words) + (/[.!?]$/.test(words) ? '' : '.');
}

function sinceWords(since, now) {
  if (moment(since, now) === NOTHING) return '';
  return `Since ${moment(since, now)}, for ${age(Math.max(0, now - since))}.`;
}

function sayOrHide(node, text) {
  say(node, text);
  node.hidden = text === '';
}

// Sets a text in which commands stand between backquotes.
function sayCommands(node, text) {
  node.hidden = text === '';
  if (node.dataset.text === text) return;
  node.dataset.text = text;
  node.replaceChildren(...text.split('`').map((part, index) => html(index % 2 ? 'code' : 'span', '', part)));
}

// Lists the findings behind the worst, which is the verdict.
function showFindings(findings, now) {
  const others = (findings || []).slice(1);
  const list = byId('findings');
  list.hidden = others.length === 0;
  while (list.children.length > others.length) list.lastChild.remove();
  while (list.children.length < others.length) list.append(html('li'));
  others.forEach(({ level, sentence, remedy, since }, index) => {
    const parts = [`${wordFor(TITLES, level, level)}: ${wholeSentence(sentence, false)}`, sinceWords(since, now),
      remedy ? `What to do: ${wholeSentence(remedy, false)}` : ''];
    sayCommands(list.children[index], parts.filter(Boolean).join(' '));
  });
}

// Tiles: { name, value, rest, bad }, where `bad` says that it needs a person.

function tilesOf(status) {
  const start = recent[0] === status ? null : recent[0];
  return [answeredTile, failedTile, lostTile, timeTile, diskTile, forwardingTile].map((tile) => tile(status, start));
}

function answeredTile(status, start) {
  const [received, answered] = [(of) => of.received, (of) => of.answered]
    .map((value) => (start ? perSecond(start, status, value) : null));
  return { name: 'Answered', value: rate(answered), rest: `of ${rate(received)} received`,
    bad: received > 0 && answered === 0 && !status.healthy };
}

function failedTile(status, start) {
  const now = start ? share(start, status, failed, allReplies) : null;
  const idle = start !== null && now === null;
  return { name: 'Failed', value: idle ? '0 %' : percent(now), bad: now >= MANY_FAILED,
    rest: `${count(failed(status))} since the start` };
}

function lostTile(status, start) {
  const now = start ? perSecond(start, status, lost) : null;
  const out = start ? perSecond(start, status, keptOut) : null;
  return { name: 'Lost', value: rate(now), bad: now * WINDOW >= MANY_LOST,
    rest: out > 0 ? `and ${rate(out)} kept out by limits` : `${count(lost(status))} since the start` };
}

function timeTile(status, start) {
  const [median, slowest] = [0.5, 0.99]
    .map((wanted) => (start ? percentile(start.latency, status.latency, wanted) : null));
  return { name: 'Time to answer', value: duration(slowest), bad: slowest > SLOW,
    rest: slowest === null ? 'no successful request now' : `99 % within; median ${duration(median)}` };
}

function diskTile(status) {
  const disks = (status.disks || []).filter((disk) => known(disk.free));
  if (!disks.length) return { name: 'Disk free', value: NOTHING, rest: 'not known', bad: false };
  const least = disks.reduce((worst, disk) => (disk.free < worst.free ? disk : worst));
  return { name: 'Disk free', value: bytes(least.free), bad: nearlyFull(least),
    rest: `${percent(least.free / least.total)}, ${least.what}` };
}

function nearlyFull(disk) {
  return disk.free < FEW_BYTES && disk.free < disk.total * FEW_SHARE;
}

function forwardingTile(status) {
  const name = 'Forwarding', peers = status.forwarding || [];
  if (!peers.length) return { name, value: 'off', rest: 'no server is set', bad: false };
  const failing = peers.filter((peer) => peer.state === 'failing');
  const waiting = peers.reduce((sum, peer) => sum + (peer.waiting || 0), 0);
  const names = failing.map((peer) => peer.server).join(', ');
  if (failing.length) return { name, value: 'failing', rest: `to ${names}`, bad: true };
  const idle = peers.every((peer) => peer.state === 'idle');
  return { name, value: idle ? 'idle' : 'works', bad: false,
    rest: `${count(waiting)} waiting, ${peers.length} ${peers.length === 1 ? 'server' : 'servers'}` };
}

function showTiles(tiles) {
  const list = byId('tiles');
  while (list.children.length < tiles.length) {
    list.append(html('div'));
    list.lastChild.append(html('dt'), html('dd', 'value'), html('dd', 'quiet'));
  }
  tiles.forEach(({ name, value, rest, bad }, index) => {
    const tile = list.children[index];
    tile.className = bad ? 'bad' : '';
    // The sign says what the colour says.
    [bad ? `▲ ${name}` : name, value, rest].forEach((text, place) => say(tile.children[place], text));
  });
}

function showServer(status) {
  const workers = `${status.workers} ${status.workers === 1 ? 'worker' : 'workers'}`;
  say(byId('server'), `${status.version} on ${status.listen}, ${status.engine}, ${status.runtime} runtime, ${workers}, `
    + `up ${age(status.uptime)}`);
}
