"""The style sheet of the report: light and dark by the reader's setting, readable from a phone to a wide screen."""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f7f7f5; --card: #ffffff; --ink: #1c1f24; --soft: #5c636e; --faint: #8b929d;
  --line: #e4e5e3; --track: #eceeec; --accent: #2f6fde; --second: #0f9488; --grey: #9aa1ab;
  --good: #17803d; --good-bg: #e5f4ea; --bad: #b3540a; --bad-bg: #fdf0e0;
  --c1: #2f6fde; --c2: #0f9488; --c3: #b7791f; --c4: #8b5cf6; --c5: #d0476f; --c6: #5b8c2a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #111417; --card: #191d22; --ink: #e8eaed; --soft: #a5acb6; --faint: #7d858f;
    --line: #2a3037; --track: #272d34; --accent: #74a7ff; --second: #45c8b8; --grey: #6c747e;
    --good: #6fd08c; --good-bg: #173323; --bad: #f0a95c; --bad-bg: #3a2813;
    --c1: #74a7ff; --c2: #45c8b8; --c3: #e0b050; --c4: #b79bff; --c5: #f08aa8; --c6: #9ccc65;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  -webkit-text-size-adjust: 100%;
}
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 30px; line-height: 1.2; font-weight: 650; letter-spacing: -0.02em; margin: 4px 0 8px; }
h2 { font-size: 17px; font-weight: 650; letter-spacing: -0.005em; margin: 0 0 4px; }
p { margin: 0 0 12px; }
.kicker { color: var(--accent); font-size: 13px; font-weight: 600; letter-spacing: 0.02em; margin: 0; }
.facts { color: var(--soft); margin: 0; }
.facts span + span::before { content: "\\00b7"; margin: 0 8px; color: var(--faint); }
.note { color: var(--soft); font-size: 14px; max-width: 100ch; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(178px, 1fr)); gap: 12px; margin: 28px 0 16px; }
.tile, section {
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
.tile { padding: 16px 18px; }
.tile b { display: block; font-size: 32px; line-height: 1.15; font-weight: 650; letter-spacing: -0.025em; }
.tile b small { font-size: 18px; font-weight: 600; letter-spacing: 0; }
.tile .what { color: var(--ink); font-size: 14px; font-weight: 500; }
.tile .from { color: var(--soft); font-size: 13px; }
section { padding: 20px 22px 22px; margin: 16px 0; }
.verdict {
  display: flex; flex-wrap: wrap; align-items: center; gap: 6px 14px; padding: 12px 18px; border-radius: 12px;
}
.verdict.met { background: var(--good-bg); } .verdict.missed { background: var(--bad-bg); }
.verdict strong { font-weight: 650; } .verdict.met strong { color: var(--good); }
.verdict.missed strong { color: var(--bad); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; margin-top: 10px; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: 13px; white-space: nowrap; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
th:last-child, td:last-child { padding-right: 0; }
tbody tr:last-child td { border-bottom: 0; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.strong { font-weight: 600; }
td.sub { padding-left: 18px; color: var(--soft); }
td.soft, .soft { color: var(--soft); }
td.name { white-space: nowrap; }
td.wrap, th.wrap { min-width: 240px; padding-left: 10px; }
code, pre, td.name {
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 13px;
}
pre {
  background: var(--page); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; margin: 10px 0 0;
  white-space: pre-wrap; overflow-wrap: anywhere;
}
.bars { min-width: 150px; width: 24%; }
.bar { display: flex; align-items: center; gap: 10px; }
.bar i {
  flex: 1; display: block; height: 8px; border-radius: 4px; background: var(--track); overflow: hidden; min-width: 60px;
}
.bar i::before {
  content: ""; display: block; height: 100%; width: var(--share); background: var(--accent); border-radius: 4px;
}
.bar.columns i::before { background: var(--second); }
.bar.measured i::before { background: var(--second); }
.bar.plain i { background: none; }
.bar span { min-width: 76px; text-align: right; white-space: nowrap; }
.bar.plain span { min-width: 64px; }
.bar.whole i::before { background: var(--grey); }
.tag {
  display: inline-block; padding: 1px 8px; border-radius: 999px;
  font-size: 12.5px; font-weight: 600; white-space: nowrap;
}
.tag.good { color: var(--good); background: var(--good-bg); } .tag.bad { color: var(--bad); background: var(--bad-bg); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; color: var(--soft); font-size: 13px; margin: 8px 0 0; }
.legend span { display: inline-flex; align-items: center; gap: 7px; }
.legend u { width: 10px; height: 10px; border-radius: 50%; text-decoration: none; background: var(--grey); }
.legend u.c1 { background: var(--c1); } .legend u.c2 { background: var(--c2); } .legend u.c3 { background: var(--c3); }
.legend u.c4 { background: var(--c4); } .legend u.c5 { background: var(--c5); } .legend u.c6 { background: var(--c6); }
.legend u.ring { background: none; border: 2.5px solid var(--ink); }
.legend u.full { background: var(--ink); }
.legend u.dash { width: 20px; height: 0; border-radius: 0; background: none; border-top: 2px dashed var(--grey); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 10px 0 0; font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
figure { margin: 14px 0 0; } figcaption { color: var(--soft); font-size: 13px; margin-top: 4px; }
svg { display: block; width: 100%; min-width: 620px; height: auto; margin-top: 12px; font-size: 12.5px; }
svg text { fill: var(--soft); } svg .label { fill: var(--ink); font-weight: 600; }
svg .name { fill: var(--faint); }
svg .grid { stroke: var(--line); } svg .axis { stroke: var(--faint); }
svg .trial { fill-opacity: 0.38; } svg .trial:hover { fill-opacity: 1; }
svg .c1 { fill: var(--c1); } svg .c2 { fill: var(--c2); } svg .c3 { fill: var(--c3); }
svg .c4 { fill: var(--c4); } svg .c5 { fill: var(--c5); } svg .c6 { fill: var(--c6); }
svg .front { fill: none; stroke: var(--grey); stroke-width: 1.5; stroke-dasharray: 4 4; }
svg .on-front { fill: none; stroke: var(--ink); stroke-width: 1.4; }
svg .path { fill: none; stroke: var(--ink); stroke-width: 1.5; stroke-opacity: 0.55; }
svg .round { stroke: var(--card); stroke-width: 2; } svg .round.rejected { fill-opacity: 0.35; }
svg text.inside { fill: var(--card); font-weight: 700; font-size: 11px; pointer-events: none; }
svg .baseline { fill: var(--card); stroke: var(--ink); stroke-width: 2.5; }
svg .result { fill: var(--ink); stroke: var(--card); stroke-width: 2; }
svg .bin { fill: var(--accent); fill-opacity: 0.75; } svg .bin:hover { fill-opacity: 1; }
svg .marker { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 3 3; }
footer { color: var(--faint); font-size: 13px; margin-top: 24px; }
@media (max-width: 640px) {
  main { padding: 24px 14px 40px; } section { padding: 16px 14px 18px; } h1 { font-size: 25px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 10px; } .tile { padding: 12px 14px; } .tile b { font-size: 26px; }
  dl { grid-template-columns: 1fr; } dt { margin-top: 6px; }
}
@media print { body { background: none; } section, .tile { break-inside: avoid; } }
"""
