'use strict';

// Numbers, times and foreign texts as words.

// Characters without a shape of their own: control, format and direction marks, line ends, lone surrogates.
const INVISIBLE = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}]/gu;
const MOST_TEXT = 1000; // characters
const NOTHING = '–';

// Returns a text in which every character can be seen: one from a client must not hide or turn its neighbours, nor
// push them out of sight.
function visible(text) {
  const whole = String(text);
  const cut = whole.length > MOST_TEXT ? `${whole.slice(0, MOST_TEXT)}…` : whole;
  return cut.replace(INVISIBLE, (sign) => `\\u{${sign.codePointAt(0).toString(16)}}`);
}

// Returns the word for a key that the server sends, which may be any text.
function wordFor(words, key, other) {
  return Object.hasOwn(words, key) ? words[key] : other;
}

// Sets a text. Every text of the page comes through here, and none as markup.
function say(node, text) {
  const shown = visible(text);
  // An unchanged text keeps the reader's selection, and a screen reader quiet.
  if (node.textContent !== shown) node.textContent = shown;
}

function known(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

function count(value) {
  return known(value) ? Math.round(value).toLocaleString('en') : NOTHING;
}

function rate(value) {
  if (!known(value)) return NOTHING;
  if (value === 0) return '0/s';
  if (value < 0.01) return '< 0.01/s';
  return (value < 10 ? String(Number(value.toPrecision(2))) : count(value)) + '/s';
}

// Returns a share of 1 as a percentage: a share that is not zero never reads as 0 %.
function percent(share) {
  if (!known(share)) return NOTHING;
  if (share === 0 || share === 1) return `${share * 100} %`;
  if (share < 0.001) return '< 0.1 %';
  if (share > 0.999) return '> 99.9 %';
  return `${Number((share * 100).toFixed(share < 0.1 || share > 0.9 ? 1 : 0))} %`;
}

function duration(seconds) {
  if (!known(seconds)) return NOTHING;
  if (seconds === 0) return '0 s';
  for (const [unit, size] of [['s', 1], ['ms', 1e-3], ['µs', 1e-6]]) {
    if (seconds >= size * 0.9995) return `${Number((seconds / size).toPrecision(3))} ${unit}`;
  }
  return `${Math.round(seconds * 1e9)} ns`;
}

function bytes(size) {
  if (!known(size)) return NOTHING;
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  const power = Math.min(units.length - 1, size < 1 ? 0 : Math.floor(Math.log2(size) / 10));
  return `${Number((size / 1024 ** power).toPrecision(3))} ${units[power]}`;
}

function age(seconds) {
  const [days, hours, minutes] = [seconds / 86400, seconds / 3600 % 24, seconds / 60 % 60].map(Math.floor);
  const parts = [[days, 'd'], [hours, 'h'], [minutes, 'min'], [Math.floor(seconds % 60), 's']];
  const first = parts.findIndex(([value]) => value > 0);
  const shown = parts.slice(first, first + 2).filter(([value]) => value > 0);
  return first < 0 ? '0 s' : shown.map(([value, unit]) => `${value} ${unit}`).join(' ');
}

// Times: seconds since 1970, as the server's clock has them, in the zone of the browser.

const MINUTES = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const SECONDS = new Intl.DateTimeFormat('en', {
  hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23',
});
const DAY = new Intl.DateTimeFormat('en', { month: 'short', day: 'numeric' });

// A date that no calendar has must not break the page.
function formatted(format, time) {
  const date = new Date(time * 1000);
  return Number.isNaN(date.getTime()) ? NOTHING : format.format(date);
}

function minuteOf(time) {
  return formatted(MINUTES, time);
}

function secondOf(time) {
  return formatted(SECONDS, time);
}

// Returns the time of day, with the day unless it is today.
function moment(time, now, format = SECONDS) {
  const day = known(time) ? formatted(DAY, time) : NOTHING;
  if (day === NOTHING) return NOTHING;
  return (day === formatted(DAY, now) ? '' : `${day}, `) + formatted(format, time);
}

function zone() {
  const { timeZone } = MINUTES.resolvedOptions();
  const minutes = -new Date().getTimezoneOffset();
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  const offset = `UTC${minutes < 0 ? '−' : '+'}${hours}${rest ? `:${String(rest).padStart(2, '0')}` : ''}`;
  return timeZone && timeZone !== 'UTC' ? `${timeZone} (${offset})` : offset.replace(/\+0$/, '');
}
