'use strict';

// The tables.

// Columns: names; a name with a leading `#` has numbers, which stand to the right.

// Fills a table. Cells whose text stays the same are not touched: a reader may be selecting them.
function fill(id, columns, rows, empty) {
  const table = byId(id);
  const names = columns.map((name) => name.replace(/^#/, ''));
  if (table.dataset.columns !== names.join()) startTable(table, columns, names);
  const body = table.tBodies[0];
  const shown = rows.length ? rows : [[empty]];
  while (body.rows.length > shown.length) body.lastChild.remove();
  shown.forEach((row, index) => {
    const line = body.rows[index] || startRow(body);
    if (line.cells.length !== row.length) startCells(line, row.length, columns, names);
    const text = (value) => (typeof value === 'number' ? count(value) : value ?? NOTHING);
    row.forEach((value, column) => say(line.cells[column], text(value)));
  });
}

// The roles keep the meaning of the table where a narrow window shows its rows as blocks.
function startTable(table, columns, names) {
  const head = html('thead'), line = html('tr'), body = html('tbody');
  columns.forEach((column, index) => {
    const cell = html('th', column.startsWith('#') ? 'number' : '', names[index]);
    cell.scope = 'col';
    cell.setAttribute('role', 'columnheader');
    line.append(cell);
  });
  head.append(line);
  table.setAttribute('role', 'table');
  [head, body].forEach((part) => part.setAttribute('role', 'rowgroup'));
  line.setAttribute('role', 'row');
  table.replaceChildren(head, body);
  table.dataset.columns = names.join();
}

function startRow(body) {
  const line = html('tr');
  line.setAttribute('role', 'row');
  body.append(line);
  return line;
}

function startCells(line, length, columns, names) {
  line.replaceChildren(...Array.from({ length }, (_, column) => {
    const cell = html(column ? 'td' : 'th', columns[column].startsWith('#') ? 'number' : '');
    if (!column) cell.scope = 'row';
    if (length < columns.length) cell.colSpan = columns.length;
    cell.setAttribute('role', column ? 'cell' : 'rowheader');
    // A narrow window shows it beside the value.
    cell.dataset.name = names[column];
    return cell;
  }));
}

function showTables(status, start) {
  showErrors(status);
  showTalkers(status, start);
  showDenied(status);
  showForwarding(status);
  showDatabase(status);
  showDisks(status);
  showCodes(status);
  showFaults(status);
  showSettings(status);
  document.querySelectorAll('.table').forEach(makeReachable);
}

// A table that is too wide scrolls, with the keyboard as well.
function makeReachable(place) {
  if (place.scrollWidth > place.clientWidth) place.tabIndex = 0;
  else place.removeAttribute('tabindex');
}

function showErrors(status) {
  fill('errors', ['time', 'level', 'text'],
    (status.errors || []).map((line) => [moment(line.time, status.time), line.level, line.text]),
    status.errors ? 'None since the start.' : 'Not known: this server does not tell.');
}

// The networks that send most now are the first. Rates within a power of two do not change places all the time.
function showTalkers(status, start) {
  const old = new Map((start ? start.talkers : []).map((row) => [row.network, row.datagrams]));
  const now = (row) => (old.has(row.network)
    ? perSecond(start, status, (of) => (of === start ? old.get(row.network) : row.datagrams)) : null);
  const range = (row) => (row.excess ? `${count(row.datagrams - row.excess)} to ` : '') + count(row.datagrams);
  const size = (row) => Math.floor(Math.log2(Math.max(0.01, now(row) || 0)));
  const rows = [...status.talkers].sort((one, other) => size(other) - size(one));
  fill('talkers', ['network', '#now', '#datagrams', '#error replies', '#dropped'],
    rows.map((row) => [row.network, rate(now(row)), range(row), row.refused, row.dropped]), 'None so far.');
}

function showDenied(status) {
  fill('denied', ['user', '#code', '#replies'],
    (status.denied || []).map((row) => [row.user, String(row.code), row.count]), 'None so far.');
}

function showForwarding(status) {
  const peers = status.forwarding || [];
  byId('forwarding-section').hidden = peers.length === 0;
  fill('forwarding',
    ['server', 'state', '#delivered', '#refused', '#unanswered', '#dropped', '#waiting', 'last delivered'],
    peers.map((peer) => [peer.server, peerState(peer, status.time), peer.delivered, peer.refused, peer.unanswered,
      peer.dropped, peer.waiting, moment(peer.last_delivered, status.time)]), 'None.');
}

function peerState(peer, now) {
  const since = known(peer.since) ? ` since ${moment(peer.since, now)}` : '';
  return `${peer.state}${since}${peer.cause ? `: ${peer.cause}` : ''}`;
}

const UNKNOWN = 'not known'; // some databases do not tell
const RECORDS = { mysql: ', estimated by the database' }; // where the number of records is not exact

function showDatabase(status) {
  const { checks, hits } = status;
  const found = checks > 0 ? `${count(hits)} (${percent(hits / checks)})` : count(hits);
  const rows = [
    ['engine', status.engine],
    [`records${wordFor(RECORDS, status.engine, '')}`, status.records ?? UNKNOWN],
    ['size', known(status.database_bytes) ? bytes(status.database_bytes) : UNKNOWN],
    ['new records since the start', status.new_records ?? UNKNOWN],
    ['checks since the start', checks],
    ['checks that found a report', found],
    ['records removed for their age', status.expired ?? UNKNOWN],
    ['last search for old records',
      known(status.last_expiry) ? moment(status.last_expiry, status.time) : 'none so far'],
    ['time for a batch, 99 % within, since the start', duration(status.store.p99)],
  ];
  fill('database', ['what', '#figure'], rows, '');
}

function showDisks(status) {
  fill('disks', ['what', 'path', '#free', '#of'],
    (status.disks || []).map((disk) => [disk.what, disk.path,
      `${bytes(disk.free)}${disk.total > 0 ? ` (${percent(disk.free / disk.total)})` : ''}`, bytes(disk.total)]),
    'None looked at.');
}

const CODES = { 200: 'done', 400: 'malformed', 401: 'signature wrong', 403: 'not allowed', 500: 'failed',
  501: 'unknown operation', 505: 'wrong version' };

function showCodes(status) {
  const codes = [...new Set(status.requests.map((row) => row.code))].sort();
  const seen = OPERATIONS.filter((operation) => status.requests.some((row) => row.operation === operation));
  fill('codes', ['operation', ...codes.map((code) => `#${code} ${wordFor(CODES, code, '')}`)],
    seen.map((operation) => [operation, ...codes.map((code) =>
      replies(status, (row) => row.operation === operation && row.code === code))]), 'No request so far.');
}

// Why a datagram has no answer, and what it means.
const DROPPED = {
  not_a_request: 'dropped: not a request', source_port_zero: 'dropped: from port 0',
  denied_network: 'dropped: network not served', over_limit: 'dropped: over a limit',
  in_flight: 'dropped: copy of a request that is being answered',
  overloaded: 'lost: too many large requests waited', stale: 'lost: too old when its turn came, its client is gone',
};

function faultsOf(status) {
  return [
    ['lost: the receive buffer was full (counted by the kernel)', status.kernel_drops],
    ...Object.entries(status.dropped)
      .map(([reason, number]) => [wordFor(DROPPED, reason, `dropped: ${reason}`), number]),
    ['lost: reply could not be sent', status.send_errors],
    ['lost: reply dropped, the send buffer was full', status.replies_dropped],
    ['failed: too many requests waited for the database', status.overloaded],
    ['failed: no answer of the database to a call', status.store_unavailable],
    ['failed: unreadable record', status.store_unreadable],
    ['failed: no place for a digest', status.store_no_place],
    ['errors of receiving', status.receive_errors], ['internal errors', status.internal_errors],
    ['log lines that could not be written', status.log_lines_lost],
  ].filter(([, number]) => known(number));
}

// A row only for a fault that has occurred: rows of zeros hide the others.
function showFaults(status) {
  const faults = faultsOf(status);
  fill('faults', ['what', '#count'], faults.filter(([, number]) => number > 0), 'None so far.');
  const never = faults.filter(([, number]) => number === 0).map(([what]) => what).join('; ');
  say(byId('no-faults'), never && `None of: ${never}.`);
}

function showSettings(status) {
  fill('settings', ['setting', 'value', 'from'],
    status.settings.map((row) => [row.name, row.value || '(empty)', row.source]), 'None.');
}
