"""The page's look on Gradio's own tokens: system fonts, white space, few borders, one accent."""

from pathlib import Path

import gradio as gr

ASSETS = Path(__file__).resolve().parent.parent / "assets"
CSS = ASSETS / "style.css"
SCRIPT = ASSETS / "page.js"
FOOT = "@media (max-width: 768px) { footer .divider { display: none !important; } }"  # a dot between links that went


def head() -> str:
    """What stands in the page's head: our own script, as text, so that nothing is fetched for it; and the style of what
    lies outside of the app, where Gradio's `css_paths` do not reach."""
    return f"<style>{FOOT}</style><script>{SCRIPT.read_text(encoding='utf-8')}</script>"


def theme() -> gr.themes.Base:
    """A light and a dark set of tokens; fonts are named, never fetched."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.orange,
        secondary_hue=gr.themes.colors.slate,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_lg,
        spacing_size=gr.themes.sizes.spacing_md,
        font=["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Ubuntu", "sans-serif"],
        font_mono=["ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace"],
    ).set(
        body_background_fill="#f8fafc",
        body_background_fill_dark="#0b1120",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#131c2e",
        background_fill_secondary="#f1f5f9",
        background_fill_secondary_dark="#0f1729",
        block_background_fill="#ffffff",
        block_background_fill_dark="#131c2e",
        block_border_width="1px",
        block_border_color="#e2e8f0",
        block_border_color_dark="#22304a",
        border_color_primary="#e2e8f0",
        border_color_primary_dark="#22304a",
        block_shadow="none",
        block_shadow_dark="none",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        block_label_border_width="0px",
        block_label_text_color="#475569",
        block_label_text_color_dark="#94a3b8",
        block_title_text_color="#334155",
        block_title_text_color_dark="#cbd5e1",
        body_text_color="#0f172a",
        body_text_color_dark="#e2e8f0",
        body_text_color_subdued="#5b6b82",
        body_text_color_subdued_dark="#94a3b8",
        button_primary_background_fill="#c2570c",
        button_primary_background_fill_hover="#9a4509",
        button_primary_background_fill_dark="#c2570c",
        button_primary_background_fill_hover_dark="#d1600e",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        slider_color="#ea7317",
        slider_color_dark="#ea7317",
    )
