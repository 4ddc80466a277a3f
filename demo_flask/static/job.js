// The last import: a bar per file. Replayed events draw the same picture as live ones.

export class Job {
  start({ job, files }) {
    this.job = job;
    this.bars = new Map();
    const rows = files.map((name) => {
      const label = document.createElement("label");
      const percent = document.createElement("span");
      percent.className = "percent";
      percent.textContent = "0 %";
      const bar = document.createElement("progress");
      bar.max = 100;
      bar.value = 0;
      label.append(name, percent, bar);
      this.bars.set(name, { bar, percent });
      return label;
    });
    document.getElementById("files").replaceChildren(...rows);
    document.getElementById("job").textContent = "";
  }

  progress({ job, file, percent }) {
    const row = job === this.job && this.bars.get(file);
    if (!row) return; // another import, which began before our part of the log
    row.bar.value = percent;
    row.percent.textContent = `${percent} %`;
  }

  complete({ job }) {
    if (job === this.job) document.getElementById("job").textContent = "The import is complete.";
  }
}
