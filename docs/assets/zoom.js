/* Lets a reader zoom and move the pictures in `.zoom`: by buttons, by Ctrl and the wheel, by dragging, by the keyboard. */
document$.subscribe(() => {
  for (const frame of document.querySelectorAll(".zoom")) {
    const svg = frame.querySelector("svg");
    if (!svg || frame.dataset.ready) continue;
    frame.dataset.ready = "yes";
    const whole = svg.viewBox.baseVal;
    const full = { x: whole.x, y: whole.y, width: whole.width, height: whole.height };
    let view = { ...full };
    let moved = 0;

    const show = () => svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.width} ${view.height}`);
    const zoom = (factor, atX = 0.5, atY = 0.5) => {
      const width = Math.min(Math.max(view.width * factor, full.width / 12), full.width * 1.5);
      const height = (width * view.height) / view.width;
      view = { x: view.x + (view.width - width) * atX, y: view.y + (view.height - height) * atY, width, height };
      show();
    };
    const move = (x, y) => {
      view.x += view.width * x;
      view.y += view.height * y;
      show();
    };
    const actions = [
      ["+", "Zoom in", () => zoom(0.7)],
      ["−", "Zoom out", () => zoom(1 / 0.7)],
      ["Reset", "Show the whole picture", () => { view = { ...full }; show(); }],
      ["Full screen", "Full screen", () => (document.fullscreenElement ? document.exitFullscreen() : frame.requestFullscreen())],
    ];

    svg.removeAttribute("width");
    svg.removeAttribute("height");
    frame.tabIndex = 0;
    frame.setAttribute("role", "group");
    frame.setAttribute("aria-label", "Picture that can be zoomed: plus, minus and arrow keys");
    const bar = document.createElement("div");
    bar.className = "zoom-bar";
    for (const [text, label, act] of actions) {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.setAttribute("aria-label", label);
      button.addEventListener("click", act);
      bar.append(button);
    }
    frame.prepend(bar);

    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !document.fullscreenElement) return;
      event.preventDefault();
      const box = svg.getBoundingClientRect();
      zoom(event.deltaY > 0 ? 1.15 : 0.87, (event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height);
    }, { passive: false });
    frame.addEventListener("keydown", (event) => {
      const steps = {
        "+": () => zoom(0.7), "-": () => zoom(1 / 0.7), "0": actions[2][2],
        ArrowLeft: () => move(-0.1, 0), ArrowRight: () => move(0.1, 0), ArrowUp: () => move(0, -0.1), ArrowDown: () => move(0, 0.1),
      };
      if (event.target !== frame || !steps[event.key]) return;
      event.preventDefault();
      event.stopPropagation();
      steps[event.key]();
    });
    svg.addEventListener("pointerdown", () => { moved = 0; });
    svg.addEventListener("pointermove", (event) => {
      if (!(event.buttons & 1)) return;
      const box = svg.getBoundingClientRect();
      moved += Math.abs(event.movementX) + Math.abs(event.movementY);
      move(-event.movementX / box.width, -event.movementY / box.height);
    });
    svg.addEventListener("dragstart", (event) => event.preventDefault());
    /* A drag that ends on a table is no click on its link. */
    svg.addEventListener("click", (event) => { if (moved > 5) event.preventDefault(); }, true);
  }
});
