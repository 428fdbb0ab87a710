/** Texts that views have rendered of a source: its row in `/status.json` (with what it says of being STALE), its metric labels. */
export type Rendered = { row: string | undefined; rowIsStale: boolean; labels: string | undefined };

/** Keeps rendered texts with their sources, within a bound over all of them. Past it texts are rendered each time they are asked for. */
export type RenderedTexts = {
  keepRow(rendered: Rendered, row: string, isStale: boolean): void;
  keepLabels(rendered: Rendered, labels: string): void;
  /** The source has another snapshot: its row is no longer right. */
  dropRow(rendered: Rendered): void;
  /** The source is gone. */
  drop(rendered: Rendered): void;
};

/** A row that is longer is rendered each time: a few of them would take the room of thousands. */
const MAX_ROW_CHARS = 65_536;

/** @param maxChars over all sources, UTF-16 units */
export function createRenderedTexts(maxChars: number): RenderedTexts {
  let chars = 0;

  function dropRow(rendered: Rendered): void {
    chars -= rendered.row?.length ?? 0;
    rendered.row = undefined;
  }

  return {
    keepRow(rendered, row, isStale) {
      dropRow(rendered);
      if (row.length > MAX_ROW_CHARS || chars + row.length > maxChars) return;
      chars += row.length;
      rendered.row = row;
      rendered.rowIsStale = isStale;
    },
    keepLabels(rendered, labels) {
      if (rendered.labels !== undefined || chars + labels.length > maxChars) return;
      chars += labels.length;
      rendered.labels = labels;
    },
    dropRow,
    drop(rendered) {
      dropRow(rendered);
      chars -= rendered.labels?.length ?? 0;
      rendered.labels = undefined;
    },
  };
}
