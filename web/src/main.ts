// The start of the page.
import { mount } from 'svelte';
import App from './App.svelte';
import { i18n } from '$lib/i18n/index.svelte';
import './styles/tokens.css';
import './styles/base.css';

await i18n.start();
// Reading the scripts and drawing the page are two tasks: between them the browser may answer somebody.
await new Promise((done) => setTimeout(done));
mount(App, { target: document.getElementById('app')! });
