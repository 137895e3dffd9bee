//! Summing up many figures: medians and quartiles.

/// The middle of some figures, and where half of them lie.
#[derive(Clone, Copy)]
pub struct Spread {
    pub median: f64,
    pub quartiles: (f64, f64),
}

impl Spread {
    /// Of at least one figure.
    pub fn of(figures: &[f64]) -> Self {
        let mut sorted = figures.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile = |share: f64| {
            // Between neighbours linearly: with nine rounds, steps would be coarse.
            let place = share * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
            low + (high - low) * place.fract()
        };
        Self { median: quantile(0.5), quartiles: (quantile(0.25), quantile(0.75)) }
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn quartiles_lie_between_neighbours() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!(spread.median, 2.5);
        assert_eq!(spread.quartiles, (1.75, 3.25));
        assert_eq!(Spread::of(&[7.0]).quartiles, (7.0, 7.0));
    }
}
