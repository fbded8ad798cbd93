// Words and numbers, as people read them.

const thin = '\u202f';
// What no number holds is text.
export const count = (n) => (n == null ? '–' : typeof n === 'string' ? n.replace(/\B(?=(\d{3})+$)/g, thin) : counted(n));
const counted = (n) => (Math.round(n).toLocaleString('en').replaceAll(',', thin));
/** How long, in two units at most; rounded before it is taken apart, so that no minute has 60 seconds. */
export function time(ms) {
  if (ms == null) return '–';
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (Math.round(ms) < 1000) return `${Math.round(ms)} ms`;
  if (ms < 59.95e3) return `${(ms / 1000).toFixed(ms < 9.995e3 ? 2 : 1)} s`;
  const [seconds, minutes] = [Math.round(ms / 1000), Math.round(ms / 60e3)];
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
/** How long ago something was, as people say it. */
export const ago = (ms) => (ms < 59.5e3 ? `${Math.round(ms / 1000)} s` : time(Math.round(ms / 1000) * 1000));
export function share(part) {
  if (part == null) return '–';
  const percent = part * 100;
  return `${percent === 0 ? '0' : percent < 0.1 ? percent.toFixed(2) : percent < 10 ? percent.toFixed(1) : Math.round(percent)} %`;
}
export const rate = (n) => (n == null ? '–' : n < 10 && n % 1 ? n.toFixed(1) : String(Math.round(n)));
export function size(bytes) {
  for (const unit of ['B', 'kB', 'MB', 'GB', 'TB']) {
    if (bytes < 999.5 || unit === 'TB') return `${unit === 'B' || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${unit}`;
    bytes /= 1000;
  }
}
export function clock(ms) {
  if (ms == null) return '–';
  const at = new Date(ms);
  const two = (n, width = 2) => String(n).padStart(width, '0');
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}.${two(at.getMilliseconds(), 3)}`;
}
export const address = (id) => id.split('/').map(encodeURIComponent).join('/');
