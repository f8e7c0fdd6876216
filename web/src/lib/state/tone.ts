// The tones a state may have; each has its own colour and shape.
export type Tone = 'ready' | 'working' | 'waiting' | 'failed' | 'off';
