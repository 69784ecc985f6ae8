#!/usr/bin/env python3
"""explore.py PAGE: drives headless Chromium over the page of `frontier` or `squeeze`: every point is drawn, hovering one shows
its command, the table sorts, and the axes change. Offline: the page is a file. Exit code 77: no browser here."""
import base64
import fractions
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request


class Browser:
    """The W3C WebDriver protocol, as far as it is needed."""

    def __init__(self, driver):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.base = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1400", "--disable-dev-shm-usage"]}
        body = {"capabilities": {"alwaysMatch": {"browserName": "chrome", "goog:chromeOptions": options,
                                                 "goog:loggingPrefs": {"browser": "ALL"}}}}
        for _ in range(120):
            try:
                self.session = self.post("/session", body)["sessionId"]
                return
            except (ConnectionError, urllib.error.URLError):
                time.sleep(0.25)
        raise SystemExit("the browser does not start")

    def post(self, path, body):
        request = urllib.request.Request(self.base + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.load(urllib.request.urlopen(request, timeout=120))["value"]

    def do(self, path, body):
        return self.post(f"/session/{self.session}/{path}", body)

    def run(self, script):
        return self.do("execute/sync", {"script": script, "args": []})

    def hover(self, x, y):
        move = {"type": "pointerMove", "duration": 0, "origin": "viewport", "x": int(x), "y": int(y)}
        self.do("actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def close(self):
        self.process.terminate()
        self.process.wait()


def check(holds, what):
    if not holds:
        raise SystemExit(f"explore.py: {what}")


def test(browser, page):
    browser.do("url", {"url": page.resolve().as_uri()})
    points = browser.run("return data.points")
    check(len(points) > 1, "the page has no points")
    dots = "chart.data.datasets.filter(d => series.includes(d.label)).flatMap(d => d.data)"
    check(browser.run(f"return {dots}.length") == len(points), "the chart lacks points")
    drawn = browser.run("""const c = document.getElementById('chart');
        return new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data.filter((v, i) => i % 4 != 3)).size""")
    check(drawn > 3, "the canvas is empty")

    # Every point in turn: its own command is shown.
    places = browser.run("""const box = chart.canvas.getBoundingClientRect();
        return chart.data.datasets.flatMap((set, i) => chart.getDatasetMeta(i).data.map((dot, j) =>
            ({x: box.left + dot.x, y: box.top + dot.y, name: set.data[j].point.name})))""")
    for place in places:
        near = {p["name"] for p in places if abs(p["x"] - place["x"]) + abs(p["y"] - place["y"]) < 12}
        browser.hover(place["x"], place["y"])
        shown = browser.run("return document.getElementById('command').textContent")
        commands = {p["command"] for p in points if p["name"] in near}
        check(shown in commands and shown, f"hovering {place['name']} shows '{shown}'")
        check(browser.run("return chart.tooltip.opacity") == 1, f"{place['name']} has no tooltip")

    # The table sorts by a column of numbers, both ways.
    column = browser.run("return data.columns.findIndex(c => c.key === 'top1')")
    for sign in (-1, 1):
        browser.run(f"document.querySelectorAll('#table th')[{column}].click()")
        values = browser.run(f"return [...document.querySelectorAll('#table tbody tr')].map(r => Number(r.children[{column}].textContent))")
        check(len(values) == len(points) and values == sorted(values, reverse=sign < 0), "the table does not sort")

    # Every horizontal axis: along a path the series are joined, on any other the front is, which rises with what it costs.
    for axis in browser.run("return data.x"):
        key = axis["key"]
        browser.run(f"const s = document.getElementById('x'); s.value = '{key}'; s.dispatchEvent(new Event('change'))")
        check(sorted(browser.run(f"return {dots}.map(p => p.x)")) == sorted(p[key] for p in points), f"the axis does not change to {key}")
        joined = browser.run("""return chart.data.datasets.filter(d => d.showLine)
            .map(d => [series.includes(d.label), d.data.map(p => [p.x, p.y])])""")
        check(all(is_series == bool(axis.get("path")) for is_series, _ in joined), f"what is joined along {key}")
        for _, front in [] if axis.get("path") else joined:
            rises = all(left == right or (left[0] < right[0] and left[1] < right[1]) for left, right in zip(front, front[1:]))
            check(rises, f"the front along {key} does not rise: {front}")
            check(max(p["top1"] for p in points) == front[-1][1], f"the front along {key} leaves out the most accurate point")
    # What each activation is worth: one row each, as many that stay as each step says.
    rows = browser.run("return [...document.querySelectorAll('#worth tbody tr')].map(r => [...r.cells].map(c => c.textContent))")
    steps = browser.run("return data.worth ? data.worth.steps : []")
    for column, step in enumerate(steps, 1):
        stay = sum(fractions.Fraction(cells[column].split()[-1]) for cells in rows if cells[column])
        check(f"k{stay}" == step, f"{stay} activations stay in {step}")
    check(bool(steps) == (not browser.run("return document.getElementById('worth').hidden")), "the table of activations is hidden")
    errors = [entry for entry in browser.do("se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]
    check(not errors, f"errors in the page: {errors}")
    return len(points)


def main():
    driver = shutil.which("chromedriver")
    if not driver or not (shutil.which("chromium") or shutil.which("google-chrome")):
        print("no chromium and chromedriver here (apt install chromium chromium-driver)")
        sys.exit(77)
    page = pathlib.Path(sys.argv[1])
    browser = Browser(driver)
    try:
        count = test(browser, page)
        if len(sys.argv) > 2:
            shot = urllib.request.urlopen(f"{browser.base}/session/{browser.session}/screenshot", timeout=60)
            pathlib.Path(sys.argv[2]).write_bytes(base64.b64decode(json.load(shot)["value"]))
    finally:
        browser.close()
    print(f"{page}: {count} points, drawn, hovered, sorted")


if __name__ == "__main__":
    main()
