// What jsdom lacks and the page uses, and the words of every screen.
import { i18n } from '$lib/i18n/index.svelte';

await i18n.more();
if (typeof HTMLDialogElement !== 'undefined' && !HTMLDialogElement.prototype.showModal) {
  HTMLDialogElement.prototype.showModal = function () {
    this.open = true;
  };
  HTMLDialogElement.prototype.close = function () {
    this.open = false;
    this.dispatchEvent(new Event('close'));
  };
}
if (typeof window !== 'undefined') window.scrollTo = () => {};
