// Frames, made into pixels: what a browser decodes, and 16-bit values through a palette.

const STOPS = {
  'white-hot': ['#000000', '#ffffff'],
  'black-hot': ['#ffffff', '#000000'],
  iron: ['#00000a', '#1d0068', '#6b0096', '#b01587', '#e0482f', '#f98a05', '#fdc52a', '#fff6c2', '#ffffff'],
  inferno: ['#000004', '#1b0c41', '#4a0c6b', '#781c6d', '#a52c60', '#cf4446', '#ed6925', '#fb9b06', '#f7d13d', '#fcffa4'],
  viridis: ['#440154', '#472d7b', '#3b528b', '#2c728e', '#21918c', '#28ae80', '#5ec962', '#addc30', '#fde725'],
  rainbow: ['#00004d', '#0000ff', '#00b3ff', '#00ff95', '#7dff00', '#ffe500', '#ff6a00', '#ff0000', '#ffd6d6'],
};

/** Names of palettes; the first leaves 8-bit images as they are. */
export const PALETTES = ['as it is', ...Object.keys(STOPS)];

const tables = new Map();

/** 256 colours, as a canvas has them in a word. */
export function table(name) {
  const known = tables.get(name);
  if (known) return known;
  const stops = (STOPS[name] ?? STOPS['white-hot']).map((text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16)));
  const colours = new Uint32Array(256);
  const bytes = new Uint8Array(colours.buffer);
  for (let level = 0; level < 256; level++) {
    const place = (level / 255) * (stops.length - 1);
    const below = Math.min(Math.floor(place), stops.length - 2);
    for (let part = 0; part < 3; part++) {
      const [from, to] = [stops[below][part], stops[below + 1][part]];
      bytes[level * 4 + part] = Math.round(from + (to - from) * (place - below));
    }
    bytes[level * 4 + 3] = 255;
  }
  tables.set(name, colours);
  return colours;
}

/** Takes a message apart: what is known of a frame, and its content. */
/** JSON in which numbers that this language cannot hold, such as sequences above 2^53, are their digits as text. */
export function parse(text) {
  return JSON.parse(text.replace(/("sequence":)(\d{16,})/g, '$1"$2"'));
}

export function read(buffer) {
  const length = new DataView(buffer).getUint16(0, true);
  const head = parse(new TextDecoder().decode(new Uint8Array(buffer, 2, length)));
  return { head, content: new Uint8Array(buffer, 2 + length) };
}

/** Decodes a frame: `{head, width, height, channels, bitmap | values | grey}`, or `null` where nothing can be shown of it. */
export async function decode({ head, content }, paletted) {
  if (head.form === 'values') {
    const { width, height, channels } = head;
    const values = new Uint16Array(width * height * channels);
    new Uint8Array(values.buffer).set(content.subarray(0, values.byteLength));
    return { head, width, height, channels, values };
  }
  if (head.form !== 'image') return null;
  // Levels of grey are measurements: no profile changes them.
  const options = head.grey ? { colorSpaceConversion: 'none' } : {};
  const bitmap = await createImageBitmap(new Blob([content], { type: head.image_type }), options);
  const picture = { head, width: bitmap.width, height: bitmap.height, channels: head.grey ? 1 : 3, bitmap };
  if (head.grey && paletted) toGrey(picture);
  return picture;
}

/** The levels of an 8-bit grey image, once they are asked for. */
export function toGrey(picture) {
  if (picture.grey || !picture.bitmap) return;
  const canvas = new OffscreenCanvas(picture.width, picture.height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(picture.bitmap, 0, 0);
  const pixels = context.getImageData(0, 0, picture.width, picture.height).data;
  picture.grey = new Uint8Array(picture.width * picture.height);
  for (let at = 0; at < picture.grey.length; at++) picture.grey[at] = pixels[at * 4];
}

/** The range that a picture is shown in: `auto` leaves one value of a hundred out at either end. */
export function range(picture, mode, fixed) {
  if (mode === 'fixed' && fixed && fixed[1] > fixed[0]) return fixed;
  const values = picture.values ?? picture.grey;
  if (!values) return [0, 255];
  const counts = new Uint32Array(picture.values ? 65536 : 256);
  for (let at = 0; at < values.length; at++) counts[values[at]]++;
  const leave = mode === 'full' ? 0 : values.length / 100;
  let [low, high] = [0, counts.length - 1];
  for (let seen = 0; low < high && (seen += counts[low]) <= leave; low++);
  for (let seen = 0; high > low && (seen += counts[high]) <= leave; high--);
  return [low, Math.max(high, low + 1)];
}

/** Draws a picture on a canvas, which gets the picture's shape, and no more pixels than `most` across. */
export function draw(canvas, picture, settings, most) {
  const scale = Math.min(1, most / picture.width);
  const [width, height] = [Math.max(1, Math.round(picture.width * scale)), Math.max(1, Math.round(picture.height * scale))];
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext('2d');
  const levels = picture.values ?? (settings.palette === PALETTES[0] ? null : picture.grey);
  if (!levels) {
    context.imageSmoothingQuality = 'high';
    context.drawImage(picture.bitmap, 0, 0, width, height);
    return;
  }
  const [low, high] = settings.shown;
  const factor = 255 / Math.max(1, high - low);
  const image = new ImageData(picture.width, picture.height);
  if (picture.channels === 3) {
    // Clamped by the array itself.
    const { data } = image;
    for (let from = 0, to = 0; from < levels.length; from += 3, to += 4) {
      data[to] = (levels[from] - low) * factor;
      data[to + 1] = (levels[from + 1] - low) * factor;
      data[to + 2] = (levels[from + 2] - low) * factor;
      data[to + 3] = 255;
    }
  } else {
    const colours = table(settings.palette);
    const words = new Uint32Array(image.data.buffer);
    for (let at = 0; at < levels.length; at++) {
      const level = (levels[at] - low) * factor;
      words[at] = colours[level <= 0 ? 0 : level >= 255 ? 255 : level | 0];
    }
  }
  if (scale === 1) {
    context.putImageData(image, 0, 0);
    return;
  }
  const whole = new OffscreenCanvas(picture.width, picture.height);
  whole.getContext('2d').putImageData(image, 0, 0);
  context.imageSmoothingQuality = 'high';
  context.drawImage(whole, 0, 0, width, height);
}

/** What is at a pixel, in words. */
export function probe(picture, x, y) {
  if (x < 0 || y < 0 || x >= picture.width || y >= picture.height) return null;
  const at = y * picture.width + x;
  if (picture.values) {
    const values = picture.values.subarray(at * picture.channels, (at + 1) * picture.channels);
    return [...values].map((value) => value.toLocaleString('en').replaceAll(',', '\u202f')).join('  ');
  }
  if (picture.head.grey) {
    toGrey(picture);
    return String(picture.grey[at]);
  }
  const canvas = new OffscreenCanvas(1, 1);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(picture.bitmap, x, y, 1, 1, 0, 0, 1, 1);
  return [...context.getImageData(0, 0, 1, 1).data.subarray(0, 3)].join(' ');
}
