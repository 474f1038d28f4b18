/** Building and updating the page: `h` makes elements, `morph` changes only what differs, so focus and scrolling stay. */
const svgNames = new Set(['svg', 'path', 'circle', 'rect', 'line', 'text', 'g', 'title', 'polyline']);

/** `h('p.note', { id: 'x', onClick }, 'text', child)`; children that are null or false are left out. */
export function h(name, ...rest) {
  const [tag, ...classes] = name.split('.');
  const given = rest[0];
  const plainProps = given !== null && typeof given === 'object' && !(given instanceof Node) && !Array.isArray(given);
  const element = svgNames.has(tag)
    ? document.createElementNS('http://www.w3.org/2000/svg', tag)
    : document.createElement(tag);
  if (classes.length > 0) element.setAttribute('class', classes.join(' '));
  if (plainProps) {
    for (const [key, value] of Object.entries(rest.shift())) {
      if (value === null || value === undefined || value === false) continue;
      element.setAttribute(key, value === true ? '' : String(value));
    }
  }
  for (const child of rest.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** Makes `old` look like `fresh`. Elements with a `data-key` are matched by it, others by place. */
export function morph(old, fresh) {
  for (const { name, value } of [...fresh.attributes])
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name) && !(name === 'open' && old.localName === 'details') && name !== 'data-live')
      old.removeAttribute(name);
  const keyed = new Map();
  for (const child of old.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const match = child.dataset?.key ? keyed.get(child.dataset.key) : at;
    if (match && match.nodeName === child.nodeName && (match.dataset?.key ?? '') === (child.dataset?.key ?? '')) {
      if (match !== at) old.insertBefore(match, at);
      else at = at.nextSibling;
      if (child.nodeType === Node.TEXT_NODE) {
        if (match.data !== child.data) match.data = child.data;
      } else morph(match, child);
    } else old.insertBefore(child, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

/** A small line of the last two minutes. Gaps stay gaps. `second` is a fainter line on the same scale. */
export function sparkline(values, label, { second = [], tone = '' } = {}) {
  const known = [...values, ...second].filter(value => value !== null);
  const top = Math.max(...known, 0) * 1.1 || 1;
  const width = 240;
  const height = 44;
  const x = index => ((index / Math.max(1, values.length - 1)) * (width - 4)).toFixed(1);
  const y = value => (height - 2 - (value / top) * (height - 6)).toFixed(1);
  const line = series => {
    let path = '';
    let drawing = false;
    series.forEach((value, index) => {
      if (value === null) drawing = false;
      else {
        path += `${drawing ? 'L' : 'M'}${x(index)} ${y(value)}`;
        drawing = true;
      }
    });
    return path;
  };
  const area = () => {
    let path = '';
    let from = -1;
    values.forEach((value, index) => {
      if (value !== null && from < 0) from = index;
      const ends = value === null ? index - 1 : index === values.length - 1 ? index : -1;
      if (from >= 0 && ends >= from) {
        path += `M${x(from)} ${height}`;
        for (let i = from; i <= ends; i++) path += `L${x(i)} ${y(values[i])}`;
        path += `L${x(ends)} ${height}Z`;
        from = -1;
      }
    });
    return path;
  };
  return h(
    `svg.spark${tone ? `.${tone}` : ''}`,
    { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': label },
    h('path.area', { d: area() }),
    second.length > 0 && h('path.second', { d: line(second) }),
    h('path.line', { d: line(values) }),
  );
}

/** A share of the whole as a bar; the figure stands beside it in text. */
export function bar(share, tone = '') {
  return h(
    `svg.bar${tone ? `.${tone}` : ''}`,
    { viewBox: '0 0 100 6', preserveAspectRatio: 'none', 'aria-hidden': 'true' },
    h('rect.track', { width: 100, height: 6 }),
    h('rect.fill', { width: Math.max(share > 0 ? 1 : 0, Math.min(100, share * 100)).toFixed(1), height: 6 }),
  );
}

/**
 * Who calls whom, in layers from the outside in. A service stands one layer right of its furthest caller; a circle of
 * calls is cut where it closes.
 */
export function trafficMap(nodes, edges) {
  const layer = new Map();
  const depth = (name, path) => {
    if (path.includes(name)) return 0;
    if (layer.has(name)) return layer.get(name);
    const above = edges.filter(edge => edge.to === name && edge.from !== name && !path.includes(edge.from));
    const found =
      above.length === 0
        ? name === 'outside' || name === 'gateway'
          ? 0
          : 1
        : 1 + Math.max(...above.map(edge => depth(edge.from, [...path, name])));
    if (path.length === 0) layer.set(name, found);
    return found;
  };
  for (const { name } of nodes) depth(name, []);
  const columns = [];
  for (const node of nodes) {
    const column = layer.get(node.name);
    columns[column] ??= [];
    columns[column].push(node);
  }
  const filled = columns.filter(column => column?.length > 0);
  const box = { width: 168, height: 52 };
  const width = 880;
  const height = Math.max(...filled.map(column => column.length), 1) * 72 + 8;
  const place = new Map();
  filled.forEach((column, c) => {
    const left =
      filled.length === 1 ? (width - box.width) / 2 : 1 + (c * (width - box.width - 2)) / (filled.length - 1);
    column.forEach((node, r) => {
      place.set(node.name, { left, top: ((r + 0.5) * height) / column.length - box.height / 2 });
    });
  });
  const most = Math.max(...edges.map(edge => edge.rate), 1);
  const lines = edges
    .filter(edge => place.has(edge.from) && place.has(edge.to) && edge.from !== edge.to)
    .map(edge => {
      const a = place.get(edge.from);
      const b = place.get(edge.to);
      const forward = b.left > a.left;
      const from = [
        forward ? a.left + box.width : a.left + box.width / 2,
        a.top + (forward ? box.height / 2 : box.height),
      ];
      const to = [forward ? b.left : b.left + box.width / 2, b.top + (forward ? box.height / 2 : box.height)];
      const bend = forward ? (to[0] - from[0]) / 2 : 0;
      const drop = forward ? 0 : 30;
      return h(`path.edge${edge.tone ? `.${edge.tone}` : ''}`, {
        'data-key': `${edge.from} ${edge.to}`,
        d: `M${from[0]} ${from[1]}C${from[0] + bend} ${from[1] + drop} ${to[0] - bend} ${to[1] + drop} ${to[0]} ${to[1]}`,
        'stroke-width': (1 + (5 * Math.log1p(edge.rate)) / Math.log1p(most)).toFixed(1),
      });
    });
  return h(
    'svg.map',
    {
      viewBox: `0 0 ${width} ${height}`,
      role: 'img',
      'aria-label': 'Map of traffic between services; the same as a list below',
    },
    lines,
    nodes.map(node => {
      const { left, top } = place.get(node.name);
      return h(
        `g.node${node.tone ? `.${node.tone}` : ''}`,
        { 'data-key': node.name, transform: `translate(${left.toFixed(1)} ${top.toFixed(1)})` },
        h('rect', { width: box.width, height: box.height, rx: 8 }),
        h('text.node-name', { x: 14, y: 22 }, node.name.length > 19 ? `${node.name.slice(0, 18)}…` : node.name),
        h('text.node-note', { x: 14, y: 40 }, node.note),
      );
    }),
  );
}
