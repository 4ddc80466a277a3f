// A line chart on a canvas: sharp on every screen, in the page's colours, in light and dark.

export class Chart {
  // series: [{ color: "--accent", dashed, filled }]
  constructor(canvas, series) {
    this.canvas = canvas;
    this.series = series;
    new ResizeObserver(() => this.paint()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paint());
  }

  // lines: one list of [seconds, value] per series; a value of null breaks the line. bare: without axes
  draw(lines, { seconds, top, unit = "", bare = false }) {
    this.data = { lines, seconds, top, unit, bare };
    this.paint();
  }

  paint() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!this.data || !width) return;
    const { lines, seconds, top, unit, bare } = this.data;
    const scale = devicePixelRatio;
    this.canvas.width = Math.round(width * scale);
    this.canvas.height = Math.round(height * scale);
    const style = getComputedStyle(this.canvas);
    const color = (name) => style.getPropertyValue(name);
    const pen = this.canvas.getContext("2d");
    pen.scale(scale, scale);
    const above = bare ? 4 : 14, below = 4;
    const x = (value) => (value / seconds) * (width - 2) + 1;
    const y = (value) => height - below - (value / top) * (height - above - below);

    pen.strokeStyle = color("--line");
    pen.fillStyle = color("--muted");
    pen.font = `11px ${color("--sans")}`;
    for (const value of bare ? [] : [0, top]) {
      pen.beginPath();
      pen.moveTo(0, y(value));
      pen.lineTo(width, y(value));
      pen.stroke();
    }
    if (!bare) pen.fillText(`${top.toLocaleString("en")} ${unit}`, 0, 10);

    lines.forEach((line, index) => {
      const { color: name, dashed, filled } = this.series[index];
      pen.strokeStyle = pen.fillStyle = color(name);
      pen.lineWidth = 2;
      pen.lineJoin = "round";
      pen.setLineDash(dashed ? [3, 3] : []);
      pen.beginPath();
      let drawing = false;
      for (const [at, value] of line) {
        if (value === null) drawing = false;
        else if (drawing) pen.lineTo(x(at), y(value));
        else drawing = (pen.moveTo(x(at), y(value)), true);
      }
      pen.stroke();
      if (filled && line.length) {
        pen.lineTo(x(line.at(-1)[0]), y(0));
        pen.lineTo(x(line[0][0]), y(0));
        pen.globalAlpha = 0.15;
        pen.fill();
        pen.globalAlpha = 1;
      }
    });
  }
}
