//! `web` got more replicas and later fewer.

use anyhow::{Result, ensure};

use binnacle_tests::client::Client;

/// Replicas of `web` over time, changes only.
#[derive(Default)]
pub struct Check {
    replicas: Vec<(f64, f64)>,
}

impl Check {
    pub async fn observe(&mut self, client: &Client, now_s: f64) -> Result<()> {
        let running = client.number(r#"kube_deployment_status_replicas{deployment="web"}"#, None).await?;
        if let Some(running) = running
            && self.replicas.last().is_none_or(|(_, before)| *before != running)
        {
            self.replicas.push((now_s, running));
        }
        Ok(())
    }

    pub fn verdict(&self) -> Result<String> {
        let begun = self.replicas.first().map_or(0.0, |(at, _)| *at);
        let course = self.replicas.iter().map(|(at, n)| format!("{n} at {:.0} s", at - begun));
        let course = format!("replicas: {}", course.collect::<Vec<_>>().join(", "));
        let mut ups = self.replicas.windows(2).filter(|w| w[0].1 > 0.0 && w[1].1 > w[0].1);
        let up = ups.next().map(|w| w[1].0);
        ensure!(up.is_some(), "never scaled up; {course}");
        let later_down = self.replicas.windows(2).any(|w| w[1].1 < w[0].1 && Some(w[1].0) > up);
        ensure!(later_down, "scaled up, but not down again; {course}");
        Ok(course)
    }
}
