console.log('to the log');

class Point {
  constructor({ x, y }) {
    this.x = x;
    this.y = y;
  }
}

const mean = (numbers) => numbers.reduce((a, b) => a + b, 0) / numbers.length;
const run = (input) => {
  const points = input.map((point) => new Point(point));
  return { middle: [mean(points.map((p) => p.x)), mean(points.map((p) => p.y))], ü: null };
};
