// Draws detections over a picture, and finds the one under the pointer.

const GOLDEN_RATIO = 0.618033988749895;
const TONES = [[0.85, 1], [0.6, 0.95], [0.95, 0.75]];

// The colour of a class, as draw_detections of the runtime has it: [red, green, blue] from 0 to 255.
export function classColor(label) {
  const hue = ((0.02 + label * GOLDEN_RATIO) % 1) * 6;
  const [saturation, value] = TONES[label % 3];
  const part = (n) => {
    const k = (n + hue) % 6;
    return Math.round(255 * (value - value * saturation * Math.max(0, Math.min(k, 4 - k, 1))));
  };
  return [part(5), part(3), part(1)];
}

export const cssColor = (label) => `rgb(${classColor(label).join(" ")})`;

// Turn the grey PNG of a mask into a canvas in the colour of the class, with a clear background.
export async function paintMask(detection) {
  const mask = detection.mask;
  if (!mask || !mask.png) return;
  const bytes = Uint8Array.from(atob(mask.png), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  const pixels = pen.getImageData(0, 0, bitmap.width, bitmap.height);
  const [red, green, blue] = classColor(detection.label);
  for (let i = 0; i < pixels.data.length; i += 4) {
    const inside = pixels.data[i] > 127;
    pixels.data.set([red, green, blue, inside ? 115 : 0], i);
  }
  pen.putImageData(pixels, 0, 0);
  detection.painted = canvas;
}

export function draw(canvas, picture, detections, { showMasks, chosen }) {
  const pen = canvas.getContext("2d");
  const unit = Math.max(1, Math.min(canvas.width, canvas.height) / 300);
  const scaleX = canvas.width / picture.width;
  const scaleY = canvas.height / picture.height;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (picture.bitmap) pen.drawImage(picture.bitmap, 0, 0, canvas.width, canvas.height);
  const fromWorst = [...detections].reverse();
  pen.setTransform(scaleX, 0, 0, scaleY, 0, 0);
  if (showMasks) {
    for (const one of fromWorst) {
      if (one.painted) pen.drawImage(one.painted, one.mask.box_xywh[0], one.mask.box_xywh[1]);
    }
  }
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const shrunk = canvas.clientWidth ? canvas.width / canvas.clientWidth : 1; // labels stay readable on a small screen
  const fontPx = Math.round(Math.max(11 * shrunk, Math.min(canvas.width, canvas.height) / 42));
  pen.font = `600 ${fontPx}px system-ui, sans-serif`;
  pen.textBaseline = "middle";
  for (const one of fromWorst) {
    const [x1, y1, x2, y2] = one.box_xyxy;
    pen.strokeStyle = cssColor(one.label);
    pen.lineWidth = unit * (one === chosen ? 3.5 : 1.5);
    pen.strokeRect(x1 * scaleX, y1 * scaleY, (x2 - x1) * scaleX, (y2 - y1) * scaleY);
  }
  for (const one of fromWorst) drawLabel(pen, canvas, one, fontPx, scaleX, scaleY);
}

function drawLabel(pen, canvas, one, fontPx, scaleX, scaleY) {
  const text = `${one.name} ${one.score.toFixed(2)}`;
  const height = fontPx * 1.45;
  const width = pen.measureText(text).width + fontPx * 0.7;
  const x = Math.max(0, Math.min(one.box_xyxy[0] * scaleX, canvas.width - width));
  const top = one.box_xyxy[1] * scaleY;
  const y = top >= height ? top - height : Math.max(0, Math.min(top, canvas.height - height));
  const [red, green, blue] = classColor(one.label);
  pen.fillStyle = cssColor(one.label);
  pen.fillRect(x, y, width, height);
  pen.fillStyle = 0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#111" : "#fff";
  pen.fillText(text, x + fontPx * 0.35, y + height / 2);
}

// The smallest box under a point of the picture, since large boxes cover small ones.
export function detectionAt(detections, x, y) {
  const area = ({ box_xyxy: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
  return detections
    .filter(({ box_xyxy: [x1, y1, x2, y2] }) => x >= x1 && x <= x2 && y >= y1 && y <= y2)
    .sort((one, other) => area(one) - area(other))[0];
}
