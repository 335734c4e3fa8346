//! Tables as kubectl prints them: upper-case heads, three spaces between columns, no borders.

/// Draws rows below heads; every row has as many cells as there are heads.
pub fn draw(heads: &[String], rows: &[Vec<String>]) -> String {
    let width = |index: usize| {
        rows.iter()
            .map(|row| row.get(index).map_or(0, |cell| cell.chars().count()))
            .chain(std::iter::once(heads[index].chars().count()))
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| format!("{cell}{}", " ".repeat(width - cell.chars().count())))
            .collect();
        padded.join("   ").trim_end().to_owned()
    };
    let upper: Vec<String> = heads.iter().map(|head| head.to_uppercase()).collect();
    std::iter::once(line(&mut upper.iter().map(String::as_str)))
        .chain(rows.iter().map(|row| line(&mut row.iter().map(String::as_str))))
        .collect::<Vec<_>>()
        .join("\n")
}
