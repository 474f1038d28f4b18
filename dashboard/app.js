/** The dashboard: one state comes in each second, one page is built of it, and what changed is put into place. */
import { bar, h, morph, sparkline, trafficMap } from './pictures.js';
import { availability, bytes, count, ms, nines, percent, plural, span, time, unknown } from './text.js';

const main = document.getElementById('main');
const statusLine = document.getElementById('status');
const when = document.getElementById('when');
const lost = document.getElementById('lost');
const facts = document.getElementById('facts');
let state;
let heardAt = 0;
let chosen = '';

function show() {
  statusLine.className = `status ${state.status.level}`;
  setText(statusLine, state.status.text);
  document.title = `${state.status.level === 'ok' ? '' : '! '}Tandem: ${state.status.text}`;
  setText(when, `Updated ${time(state.at)}`);
  setText(facts, `Watching for ${span(state.at - state.monitorStartedAt)}`);
  const page = h('main', { id: 'main', tabindex: '-1' }, ...sections());
  morph(main, page);
  // One that is open or about to be is its user's.
  for (const select of main.querySelectorAll('select'))
    if (select !== document.activeElement) select.value = select.dataset.value;
}

/** Screen readers speak of a status when it changes, not each second. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function sections() {
  return [
    tiles(),
    h(
      'div.columns',
      h('div.wide', traffic(), services(), balancing(), partitions(), topics(), processes()),
      h('div.side', alerts(), story(), errors(), traces()),
    ),
  ];
}

function section(key, title, note, ...content) {
  return h(
    'section',
    { 'data-key': key, 'aria-labelledby': `t-${key}` },
    h('div.heading', h('h2', { id: `t-${key}` }, title), note && h('p.note', note)),
    ...content,
  );
}
const empty = text => h('p.empty', text);

function tiles() {
  const { totals } = state;
  const { history } = totals;
  const failing = totals.errorShare > 0;
  const tile = (key, label, value, unit, note, picture) =>
    h(
      'div.tile',
      { 'data-key': key },
      h('h2.label', label),
      h('p.value', value, unit && h('span.unit', ` ${unit}`)),
      h('p.note', note),
      picture,
    );
  const reading = totals.availability;
  return h(
    'section.tiles',
    { 'data-key': 'tiles', 'aria-label': 'Now' },
    tile(
      'requests',
      'Requests',
      count(totals.requestsPerSecond),
      'per second',
      peak(history.requests),
      sparkline(history.requests, 'Requests per second over the last two minutes'),
    ),
    tile(
      'latency',
      'Time to answer',
      ...splitUnit(ms(totals.p99Ms)),
      `99 % are faster; half within ${ms(totals.p50Ms)}`,
      sparkline(history.p99, 'p99 and p50 over the last two minutes', { second: history.p50 }),
    ),
    tile(
      'errors',
      'Errors',
      percent(totals.errorShare).replace(' %', ''),
      '%',
      failing ? `${count(totals.errorsPerSecond)} per second fail` : 'no request fails',
      sparkline(history.errors, 'Failed requests per second over the last two minutes', { tone: 'bad' }),
    ),
    tile(
      'nines',
      'Availability',
      nines(reading),
      'nines',
      reading.requests > 0
        ? `${availability(reading)} of ${plural(reading.requests, 'request')} in ${span(reading.overMs)}`
        : 'no requests yet',
      budget(reading),
    ),
  );
}

function splitUnit(text) {
  const cut = text.lastIndexOf(' ');
  return cut < 0 ? [text, ''] : [text.slice(0, cut), text.slice(cut + 1)];
}
function peak(values) {
  const most = Math.max(0, ...values.filter(value => value !== null));
  return most > 0 ? `peak ${count(most)} in two minutes` : 'none in two minutes';
}
function budget(reading) {
  if (reading.budgetLeft === null || reading.budgetLeft === undefined) return h('div.budget');
  const left = Math.max(0, reading.budgetLeft);
  return h(
    'div.budget',
    bar(left, left < 0.25 ? 'bad' : 'good'),
    h('p.note', `${percent(left)} of the error budget (99.9 %) is left`),
  );
}

function traffic() {
  const names = new Set(state.services.map(service => service.name));
  for (const { from, to } of state.traffic) {
    names.add(from);
    names.add(to);
  }
  if (state.processes.some(process => process.role === 'gateway')) names.add('gateway');
  if (names.size === 0)
    return section('traffic', 'Traffic', '', empty('No service yet. Start one with tandem up FILE.'));
  const nodes = [...names].map(name => {
    const service = state.services.find(one => one.name === name);
    if (!service) {
      const out = state.traffic
        .filter(edge => edge.from === name)
        .reduce((sum, edge) => sum + edge.requestsPerSecond, 0);
      const many = state.processes.filter(process => process.role === name && process.verdict !== 'dead').length;
      return { name, note: `${many > 1 ? `${many} × · ` : ''}${count(out)}/s out` };
    }
    const tone = service.ready === 0 ? 'bad' : service.errorShare > 0.01 ? 'warn' : '';
    return {
      name,
      tone,
      note:
        service.ready === 0
          ? 'not available'
          : service.requestsPerSecond === 0
            ? 'no calls'
            : `${count(service.requestsPerSecond)}/s · p99 ${ms(service.p99Ms)}`,
    };
  });
  const edges = state.traffic.map(edge => ({
    from: edge.from,
    to: edge.to,
    rate: edge.requestsPerSecond,
    tone: edge.errorShare > 0.01 ? 'bad' : '',
  }));
  const rows = state.traffic.filter(edge => edge.requestsPerSecond > 0);
  return section(
    'traffic',
    'Traffic',
    'who calls whom',
    h('div.map-wrap', trafficMap(nodes, edges)),
    rows.length === 0
      ? empty('No calls in the last ten seconds.')
      : h('details.flows', h('summary', 'As a list'), flowList(rows)),
    rows.length > 0 && h('div.flows-small', flowList(rows)),
  );
}
function flowList(rows) {
  return h(
    'ul.flow',
    rows.map(edge =>
      h(
        'li',
        { 'data-key': `${edge.from} ${edge.to}` },
        h('span.flow-name', `${edge.from} → ${edge.to}`),
        h('span.num', `${count(edge.requestsPerSecond)}/s`),
        h('span.num.muted', `p99 ${ms(edge.p99Ms)}`),
        edge.errorShare > 0 ? h('span.num.bad', `${percent(edge.errorShare)} fail`) : null,
      ),
    ),
  );
}

const head = (...labels) =>
  h(
    'thead',
    h(
      'tr',
      labels.map(label => {
        const [text, kind] = Array.isArray(label) ? label : [label, ''];
        return h(`th${kind ? `.${kind}` : ''}`, { scope: 'col' }, text);
      }),
    ),
  );
const cell = (label, text, kind = 'num') => h(`td.${kind}`, { 'data-label': label }, text);

function services() {
  if (state.services.length === 0) return null;
  return section(
    'services',
    'Services',
    'over the last ten seconds',
    h(
      'table.table.stack',
      head(
        'Service',
        ['Ready', 'num'],
        ['Calls/s', 'num'],
        ['Fail', 'num'],
        ['p50', 'num'],
        ['p99', 'num'],
        ['Nines', 'num'],
        ['Two minutes', 'spark-head'],
      ),
      h(
        'tbody',
        state.services.flatMap(service => [
          h(
            'tr',
            { 'data-key': service.name },
            h(
              'th',
              { scope: 'row' },
              dot(service.ready === 0 ? 'bad' : service.ready < service.instances ? 'warn' : 'good'),
              service.name,
            ),
            cell('Ready', `${service.ready} of ${service.instances}`, service.ready === 0 ? 'num.bad' : 'num'),
            cell('Calls/s', count(service.requestsPerSecond)),
            cell(
              'Fail',
              service.requestsPerSecond > 0 ? percent(service.errorShare) : unknown,
              service.errorShare > 0 ? 'num.bad' : 'num',
            ),
            cell('p50', ms(service.p50Ms)),
            cell('p99', ms(service.p99Ms)),
            cell('Nines', nines(service.availability)),
            h('td.spark-cell', sparkline(service.history.requests, `Calls per second of ${service.name}`)),
          ),
          ...service.methods.map(method =>
            h(
              'tr.method',
              { 'data-key': `${service.name} ${method.name}` },
              h('th', { scope: 'row' }, method.name || 'unnamed'),
              cell('Ready', '', 'num.none'),
              cell('Calls/s', count(method.requestsPerSecond)),
              cell('Fail', percent(method.errorShare), method.errorShare > 0 ? 'num.bad' : 'num'),
              cell('p50', ms(method.p50Ms)),
              cell('p99', ms(method.p99Ms)),
              cell('Nines', '', 'num.none'),
              h('td.spark-cell'),
            ),
          ),
        ]),
      ),
    ),
  );
}

const strategies = [
  ['round-robin', 'Round robin'],
  ['weighted-round-robin', 'Weighted round robin'],
  ['least-connections', 'Least connections'],
  ['ip-hash', 'IP hash'],
  ['least-response-time', 'Least response time'],
  ['dynamic', 'Dynamic'],
  ['power-of-two-choices', 'Power of two'],
];
const nameOf = strategy => strategies.find(([key]) => key === strategy)?.[1] ?? strategy;
/** What the last change came to, by service, until the next one. */
const refused = new Map();

function balancing() {
  const several = state.services.filter(service => service.instances > 1);
  if (several.length === 0) return null;
  return section(
    'balancing',
    'Balancing',
    'how instances are picked, and how long the one that each strategy would have picked is expected to take',
    h(
      'table.table.stack.balancing',
      head('Service', 'Strategy', ...strategies.map(([, name]) => [name, 'num'])),
      h(
        'tbody',
        several.map(({ name, balance }) => {
          const best = Math.min(...balance.expected.map(({ ms: value }) => value));
          const failure = refused.get(name);
          return h(
            'tr',
            { 'data-key': name },
            h('th', { scope: 'row' }, name),
            h(
              'td.text',
              { 'data-label': 'Strategy' },
              h(
                'select',
                {
                  'data-service': name,
                  'data-value': balance.switched ? balance.strategy : '',
                  'aria-label': `Strategy of ${name}`,
                },
                h('option', { value: '' }, `${nameOf(balance.own)} (its own)`),
                strategies.map(([key, label]) => h('option', { value: key }, label)),
              ),
              balance.ruled && h('p.note', 'rules of the service may switch it'),
              balance.waiting > 0 && h('p.note', `${plural(balance.waiting, 'call')} wait for room`),
              failure && h('p.note.bad', { role: 'alert' }, failure),
            ),
            ...strategies.map(([key, label]) => {
              const found = balance.expected.find(({ strategy }) => strategy === key);
              const kind = `${found && found.ms === best ? '.good' : ''}${balance.strategy === key ? '.chosen' : ''}`;
              return cell(label, ms(found?.ms), `num${kind}`);
            }),
          );
        }),
      ),
    ),
  );
}

main.addEventListener('change', async ({ target }) => {
  const { service } = target.dataset;
  if (service === undefined) return;
  try {
    const response = await fetch('/api/balance', {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ service, strategy: target.value === '' ? null : target.value }),
    });
    if (response.ok) refused.delete(service);
    else refused.set(service, (await response.json()).message);
  } catch {
    refused.set(service, 'The monitor did not answer; try again.');
  }
  target.blur();
  if (state) show();
});

const dot = tone => h(`span.dot.${tone}`, { 'aria-hidden': 'true' });
const tones = { alive: 'good', slow: 'warn', suspect: 'warn', stuck: 'bad', dead: 'bad' };
function verdictOf(process) {
  if (process.verdict === 'alive')
    return process.draining ? ['draining', 'warn'] : process.ready ? ['ready', 'good'] : ['starting', 'warn'];
  return [process.verdict, tones[process.verdict]];
}

function processes() {
  if (state.processes.length === 0)
    return section('processes', 'Processes', '', empty('No process has been heard yet.'));
  const living = state.processes.filter(process => process.verdict !== 'dead');
  const groups = Map.groupBy(state.processes, process => process.service ?? process.role);
  return section(
    'processes',
    'Processes',
    plural(living.length, 'runs', 'run'),
    h(
      'table.table.stack.processes',
      head(
        'Process',
        'State',
        ['CPU', 'num'],
        ['Memory', 'num'],
        ['Loop delay', 'num'],
        ['Open calls', 'num'],
        'Share of calls',
        ['Writes', 'num'],
      ),
      [...groups].map(([name, members]) =>
        h(
          'tbody',
          { 'data-key': name },
          members.map(process => {
            const [word, tone] = verdictOf(process);
            const gone = process.verdict === 'dead';
            return h(
              `tr${gone ? '.gone' : ''}`,
              { 'data-key': process.id },
              h('th', { scope: 'row', title: `${process.id}, pid ${process.pid}, ${process.address}` }, process.name),
              h(
                'td.state',
                { 'data-label': 'State' },
                h(`span.pill.${tone}`, word),
                h('span.muted.since', span(process.verdictMs)),
              ),
              cell('CPU', gone ? unknown : percent(process.cpu)),
              cell('Memory', gone ? unknown : bytes(process.memoryBytes)),
              cell('Loop delay', gone ? unknown : ms(process.loopDelayMs), 'num.minor'),
              cell('Open calls', gone ? unknown : count(process.inflight), 'num.minor'),
              h(
                'td.share',
                { 'data-label': 'Share of calls' },
                process.role === 'instance' && !gone
                  ? [bar(process.share), h('span.num', percent(process.share))]
                  : h('span.muted', unknown),
              ),
              cell(
                'Writes',
                process.partitionsHeld > 0 && !gone
                  ? `${process.partitionsWritten} of ${process.partitionsHeld}`
                  : unknown,
              ),
            );
          }),
        ),
      ),
    ),
  );
}

function partitions() {
  if (state.keyspaces.length === 0) return null;
  return section(
    'partitions',
    'Partitions',
    'each column is one partition, its writer on top',
    state.keyspaces.map(keyspace),
    h(
      'ul.legend',
      ['writer', 'ready', 'behind', 'lost', 'missing'].map(role =>
        h('li', h(`span.cell.${role}`, { 'aria-hidden': 'true' }), role),
      ),
    ),
  );
}
function keyspace(space) {
  const line = partition => {
    const parts = partition.replicas.map(
      replica =>
        `${replica.name} ${replica.role}${replica.lag > 0 && replica.role !== 'lost' ? `, ${count(replica.lag)} behind` : ''}`,
    );
    return `Partition ${partition.partition} at ${partition.position}: ${partition.writer ? '' : 'no writer; '}${parts.join('; ') || 'no replica'}`;
  };
  const picked = space.partitions.find(partition => `${space.service} ${partition.partition}` === chosen);
  const focusable = picked ?? space.partitions[0];
  const behind = space.partitions.filter(partition =>
    partition.replicas.some(replica => replica.role === 'behind'),
  ).length;
  const summary = [
    plural(space.partitions.length, 'partition'),
    space.withoutWriter > 0 && `${space.withoutWriter} without a writer`,
    behind > 0 && `${behind} catching up`,
  ];
  return h(
    'div.keyspace',
    { 'data-key': space.service },
    h('h3', space.service, h('span.note', ` ${summary.filter(Boolean).join(', ')}`)),
    h(
      'div.grid',
      { role: 'group', 'aria-label': `Partitions of ${space.service}` },
      space.partitions.map(partition => {
        const key = `${space.service} ${partition.partition}`;
        const missing = Math.max(0, Math.min(8, space.replicasWanted - partition.replicas.length));
        return h(
          `button.column${key === chosen ? '.chosen' : ''}${partition.writer ? '' : '.orphan'}`,
          {
            type: 'button',
            'data-key': key,
            'aria-label': line(partition),
            title: line(partition),
            tabindex: partition === focusable ? 0 : -1,
            'aria-pressed': key === chosen ? 'true' : 'false',
          },
          partition.replicas.map(replica =>
            h(`span.cell.${replica.role}${replica.lag > 0 && replica.role === 'ready' ? '.lagging' : ''}`),
          ),
          Array.from({ length: missing }, () => h('span.cell.missing')),
          h('span.index', partition.partition),
        );
      }),
    ),
    h('p.detail', picked ? line(picked) : 'Choose a partition to see where its replicas are.'),
  );
}

function topics() {
  return section(
    'topics',
    'Topics',
    'events that wait, and those that nobody could handle',
    state.topics.length === 0
      ? empty('No subscription has reported yet.')
      : h(
          'table.table.stack',
          head('Topic', 'Subscription', ['Handled/s', 'num'], ['Waiting', 'num'], ['Dead letters', 'num']),
          h(
            'tbody',
            state.topics.map(topic =>
              h(
                'tr',
                { 'data-key': `${topic.topic} ${topic.subscription}` },
                h('th', { scope: 'row' }, topic.topic),
                cell('Subscription', topic.subscription, 'text'),
                cell('Handled/s', count(topic.handledPerSecond)),
                cell('Waiting', count(topic.lag), topic.lag > 1000 ? 'num.warn' : 'num'),
                cell('Dead letters', count(topic.dead), topic.dead > 0 ? 'num.bad' : 'num'),
              ),
            ),
          ),
        ),
  );
}

function alerts() {
  const open = state.alerts.filter(alert => alert.state !== 'resolved');
  const past = state.alerts.filter(alert => alert.state === 'resolved').slice(0, 5);
  return section(
    'alerts',
    'Alerts',
    open.length > 0 ? `${open.length} open` : '',
    open.length === 0 && h('p.calm', dot('good'), 'Nothing needs you.'),
    [...open, ...past].length > 0 &&
      h(
        'ul.list',
        [...open, ...past].map(alert =>
          h(
            `li.${alert.state}`,
            { 'data-key': `${alert.rule} ${alert.subject}` },
            h(
              `span.pill.${alert.state === 'resolved' ? 'quiet' : alert.severity === 'page' ? 'bad' : 'warn'}`,
              alert.state,
            ),
            h('p', alert.text),
            h(
              'p.note',
              `${alert.rule}, ${alert.resolvedAt ? `over at ${time(alert.resolvedAt)}` : `since ${time(alert.pendingAt)}`}`,
            ),
          ),
        ),
      ),
  );
}

function story() {
  return section(
    'story',
    'What happened',
    '',
    state.story.length === 0
      ? empty('Quiet so far. Failures and recoveries are told here.')
      : h(
          'ol.story',
          { tabindex: '0', 'aria-labelledby': 't-story' },
          state.story
            .slice(0, 40)
            .map(event =>
              h(
                `li.${event.tone}`,
                { 'data-key': String(event.sequence) },
                h('time', { datetime: new Date(event.at).toISOString() }, time(event.at)),
                h('p', h('b', event.subject), ' ', event.text),
              ),
            ),
        ),
  );
}

function errors() {
  return section(
    'errors',
    'Errors and warnings',
    '',
    state.errors.length === 0
      ? empty('No process has recorded any.')
      : h(
          'ul.list',
          state.errors
            .slice(0, 8)
            .map(group =>
              h(
                'li',
                { 'data-key': group.key },
                h(`span.pill.${group.level === 'error' ? 'bad' : 'warn'}`, `${count(group.count)} ×`),
                h('p.message', group.message),
                h(
                  'p.note',
                  `${group.service}${group.code ? `, ${group.code}` : ''}, ${time(group.firstSeen)} to ${time(group.lastSeen)}`,
                ),
              ),
            ),
        ),
  );
}

function traces() {
  if (state.traces.length === 0) return null;
  return section(
    'traces',
    'Traces worth a look',
    'failed and slow ones',
    h(
      'ul.list',
      state.traces
        .slice(0, 6)
        .map(trace =>
          h(
            'li',
            { 'data-key': trace.traceId },
            h(`span.pill.${trace.error ? 'bad' : 'quiet'}`, ms(trace.durationMs)),
            h('p', trace.name, trace.error && h('span.bad', ` ${trace.error}`)),
            h('p.note', `${plural(trace.spans, 'span')} in ${trace.services.join(', ')}, ${trace.traceId.slice(0, 8)}`),
          ),
        ),
    ),
  );
}

main.addEventListener('click', event => {
  const column = event.target.closest?.('button.column');
  if (column) choose(column);
});
main.addEventListener('keydown', event => {
  const column = event.target.closest?.('button.column');
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -1e6, End: 1e6 }[event.key];
  if (!column || step === undefined) return;
  event.preventDefault();
  const all = [...column.parentElement.children];
  const next = all[Math.max(0, Math.min(all.length - 1, all.indexOf(column) + step))];
  choose(next);
  next.focus();
});
function choose(column) {
  chosen = column.dataset.key;
  show();
}

/** EventSource comes back by itself after a broken connection, but not after a refusal. */
function connect() {
  const source = new EventSource('/api/events');
  source.addEventListener('state', event => {
    state = JSON.parse(event.data);
    heardAt = performance.now();
    lost.hidden = true;
    document.body.classList.remove('stale');
    show();
  });
  source.addEventListener('error', () => {
    if (source.readyState !== EventSource.CLOSED) return;
    source.close();
    setTimeout(connect, 2000);
  });
}

setInterval(() => {
  const silentMs = performance.now() - heardAt;
  if (silentMs < 4000) return;
  const seen = state ? `What you see is from ${span(silentMs)} ago.` : 'It has not answered yet.';
  setText(lost, `No connection to the monitor, trying again. ${seen} The system itself runs on without it.`);
  lost.hidden = false;
  document.body.classList.toggle('stale', state !== undefined);
}, 1000);

connect();
