// Drives a headless Chromium: takes orders on standard input, a JSON object a line, and reports each on standard output.
// When standard input ends, the browser and its profile are gone.
//
//   {"do": "page", "scheme": "dark", "width": 360, "javascript": false}    a fresh page, of a browser that knows nothing
//   {"do": "open", "url": "…"}                                             {"do": "back"}
//   {"do": "fill", "fields": {"label": "text", "check box": true}}         {"do": "press", "keys": ["Tab", "Enter"]}
//   {"do": "type", "text": "…"}                                            {"do": "submit"}
//   {"do": "look"}  {"do": "judge"}  {"do": "walk"}  {"do": "history"}  {"do": "troubles"}  {"do": "shoot", "path": "…"}
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';

import axe from 'axe-core';
import puppeteer from 'puppeteer-core';

const chromium = process.argv[2] ?? '/usr/bin/chromium';
const profile = mkdtempSync(join(tmpdir(), 'nexus-pages-'));
const launched = puppeteer.launch({
  executablePath: chromium,
  userDataDir: profile,
  // Killed, it leaves there what it would have removed.
  env: { ...process.env, TMPDIR: profile },
  // Without its pipe, Chromium ends.
  pipe: true,
  headless: true,
  // Pages that are kept whole for the back button are part of what is tested.
  ignoreDefaultArgs: ['--disable-back-forward-cache'],
  args: ['--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--lang=en-US', '--force-color-profile=srgb', '--font-render-hinting=none'],
});
const browser = await launched.catch(async (error) => {
  await forget();
  throw error;
});

async function forget() {
  // The last of the browser's children may be writing still.
  for (let tries = 0; tries < 100; tries++) {
    try {
      rmSync(profile, { recursive: true, force: true });
      break;
    } catch {
      await setTimeout(20);
    }
  }
}

async function end() {
  const main = browser.process();
  const gone = once(main, 'exit');
  process.kill(-main.pid, 'SIGKILL');
  await gone;
  await forget();
  process.exit();
}

let context;
let page;
let troubles = [];

const orders = {
  async page({ scheme = 'light', width = 1280, javascript = true, request_id }) {
    await context?.close();
    context = await browser.createBrowserContext();
    page = await context.newPage();
    page.setDefaultTimeout(20_000);
    troubles = [];
    page.on('console', (message) => troubles.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => troubles.push(String(error)));
    await page.emulateMediaFeatures([
      { name: 'prefers-color-scheme', value: scheme },
      { name: 'prefers-reduced-motion', value: 'reduce' },
    ]);
    if (request_id) await page.setExtraHTTPHeaders({ 'x-request-id': request_id });
    await page.setViewport({ width, height: 900 });
    await page.setJavaScriptEnabled(javascript);
  },

  async open({ url }) {
    const response = await page.goto(url);
    return { status: response.status(), headers: response.headers() };
  },

  async back() {
    await page.goBack();
  },

  // By label, as people find fields.
  async fill({ fields }) {
    for (const [label, value] of Object.entries(fields)) {
      const field = await page.waitForSelector(`aria/${label}`);
      const kind = await field.evaluate((element) => element.type);
      if (kind === 'checkbox') {
        if (value !== (await field.evaluate((element) => element.checked))) await field.click();
      } else if (kind === 'select-one') {
        await field.select(value);
      } else {
        await field.evaluate((element) => (element.value = ''));
        await field.type(value);
      }
    }
  },

  async press({ keys, leaves = false }) {
    const left = leaves ? page.waitForNavigation() : undefined;
    for (const key of keys) {
      await (key.length > 1 ? page.keyboard.press(key) : page.keyboard.type(key));
    }
    const response = await left;
    return response ? { status: response.status() } : {};
  },

  async type({ text }) {
    await page.keyboard.type(text);
  },

  async submit() {
    const left = page.waitForNavigation();
    await (await page.waitForSelector('button[type=submit]')).click();
    const response = await left;
    return response ? { status: response.status() } : {};
  },

  async look() {
    const seen = await page.evaluate(() => {
      const text = (ids) =>
        (ids ?? '').split(' ').filter(Boolean).map((id) => document.getElementById(id)?.textContent ?? null);
      const fields = [...document.querySelectorAll('input:not([type=hidden]), select, textarea')].map((element) => {
        const box = element.getBoundingClientRect();
        const label = element.labels?.[0];
        const beside = element.type === 'checkbox' ? (label?.getBoundingClientRect() ?? box) : box;
        return {
          id: element.id,
          name: element.name,
          type: element.type,
          label: label?.textContent ?? null,
          described: text(element.getAttribute('aria-describedby')),
          invalid: element.getAttribute('aria-invalid') === 'true',
          required: element.required,
          autocomplete: element.getAttribute('autocomplete'),
          value: element.type === 'checkbox' ? element.checked : element.value,
          height: Math.round(beside.height),
        };
      });
      const root = document.documentElement;
      const { activeElement: focused } = document;
      return {
        url: location.href,
        title: document.title,
        heading: document.querySelector('h1')?.textContent ?? null,
        text: document.body.innerText,
        html: root.outerHTML,
        fields,
        alert: document.querySelector('[role=alert]')?.textContent ?? null,
        links: [...document.querySelectorAll('.summary a')].map((link) => ({ text: link.textContent, to: link.hash.slice(1) })),
        focused: focused === document.body ? null : focused.id || focused.className || focused.localName,
        buttons: [...document.querySelectorAll('button')].map((button) => Math.round(button.getBoundingClientRect().height)),
        overflows: [...document.querySelectorAll('*')]
          .filter((element) => element.getBoundingClientRect().right > root.clientWidth + 0.5)
          .map((element) => element.localName + (element.id && `#${element.id}`)),
        scrolls: root.scrollWidth - root.clientWidth,
        background: getComputedStyle(document.body).backgroundColor,
        moves: [...document.querySelectorAll('button')].map((button) => getComputedStyle(button).transitionDuration),
      };
    });
    return seen;
  },

  async judge() {
    await page.evaluate(axe.source);
    return page.evaluate(async () => {
      const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
      const found = await globalThis.axe.run(document, { runOnly: tags, preload: false });
      const told = (results) =>
        results.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map((node) => `${node.target}: ${node.failureSummary}`) }));
      return { violations: told(found.violations), undecided: told(found.incomplete), passed: found.passes.length };
    });
  },

  // The focus, from the top of the page until it leaves it, and whether one sees where it is.
  async walk() {
    await page.evaluate(() => document.activeElement?.blur());
    const stops = [];
    for (;;) {
      await page.keyboard.press('Tab');
      const stop = await page.evaluate(() => {
        const element = document.activeElement;
        if (!element || element === document.body) return null;
        const { outlineStyle, outlineWidth } = getComputedStyle(element);
        return { at: element.id || element.localName, seen: outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2 };
      });
      if (!stop || stops.some(({ at }) => at === stop.at)) return stops;
      stops.push(stop);
    }
  },

  async history() {
    const session = await page.createCDPSession();
    const { entries, currentIndex } = await session.send('Page.getNavigationHistory');
    await session.detach();
    return { entries: entries.map(({ url, title }) => ({ url, title })), at: currentIndex };
  },

  async troubles() {
    return troubles;
  },

  async shoot({ path, height: most }) {
    const main = await page.$('main');
    const box = await main.boundingBox();
    const { width } = page.viewport();
    const margin = 16;
    const left = Math.max(0, box.x - margin);
    const clip = { x: left, y: Math.max(0, box.y - margin), width: Math.min(width - left, box.width + 2 * margin), height: Math.min(most, box.height + 2 * margin) };
    await page.screenshot({ path, clip, captureBeyondViewport: true });
  },
};

const lines = createInterface({ input: process.stdin });
lines.on('close', end);
for await (const line of lines) {
  const order = JSON.parse(line);
  let report;
  try {
    report = { report: (await orders[order.do](order)) ?? null };
  } catch (error) {
    report = { failed: String(error?.stack ?? error) };
  }
  process.stdout.write(`${JSON.stringify(report)}\n`);
}
