// Polygons along the edges of pixels → paths to fill and to stroke, each made once.

const areas = new WeakMap();
const outlines = new WeakMap();

// The inside of [x0, y0, x1, y1, …] parts.
export function areaPath(polygons) {
  return remembered(areas, polygons, (path) => {
    for (const part of polygons) {
      path.moveTo(part[0], part[1]);
      for (let i = 2; i < part.length; i += 2) path.lineTo(part[i], part[i + 1]);
      path.closePath();
    }
  });
}

// The edges. Holes are joined to what is around them by vertical cuts, there and back: what runs
// up as often as down is no edge.
export function outlinePath(polygons) {
  return remembered(outlines, polygons, (path) => {
    const columns = new Map();
    for (const part of polygons) addEdges(path, columns, part);
    for (const [x, steps] of columns) addColumn(path, x, steps);
  });
}

function remembered(paths, polygons, draw) {
  let path = paths.get(polygons);
  if (!path) {
    path = new Path2D();
    draw(path);
    paths.set(polygons, path);
  }
  return path;
}

function addEdges(path, columns, part) {
  for (let i = 0; i < part.length; i += 2) {
    const [x0, y0] = [part[i], part[i + 1]];
    const next = (i + 2) % part.length;
    const [x1, y1] = [part[next], part[next + 1]];
    if (y0 === y1) {
      path.moveTo(x0, y0);
      path.lineTo(x1, y1);
      continue;
    }
    if (!columns.has(x0)) columns.set(x0, new Map());
    const steps = columns.get(x0);
    const sign = y1 > y0 ? 1 : -1;
    for (let y = Math.min(y0, y1); y < Math.max(y0, y1); y++) {
      steps.set(y, (steps.get(y) ?? 0) + sign);
    }
  }
}

function addColumn(path, x, steps) {
  let end = null;
  for (const y of [...steps.keys()].filter((key) => steps.get(key) !== 0).sort((a, b) => a - b)) {
    if (y !== end) path.moveTo(x, y);
    path.lineTo(x, y + 1);
    end = y + 1;
  }
}
